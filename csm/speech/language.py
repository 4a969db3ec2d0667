"""Tell text that is not English: CSM speaks English only, and reads anything else as if it were."""

import logging
import re
import unicodedata
from dataclasses import dataclass

from py3langid.langid import MODEL_FILE, LanguageIdentifier

MIN_CONFIDENCE = 0.6
"""Of the identifier in another language; its probabilities are calibrated, also for single sentences."""

MAX_ENGLISH = 0.02
"""Probability of English up to which the other language is believed: names and quotations leave more than that."""

MIN_WORDS = 2
"""One word in Latin letters, however often, may be any language, a name, or laughter."""

FOREIGN_SHARE = 0.3
"""Share of letters of another script from which a text is not English."""

NO_LANGUAGE = "zxx"
"""The identifier's code for what is no language, such as program code."""

_ADDRESS = re.compile(r"(?<!\S)\S*(?:://|@|www\.)\S*")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Language:
    """What language a text seems to be in.

    Attributes:
        code: ISO 639; `en` unless another language is likely, `und` for another one that is not known.
        confidence: probability of that language from 0 to 1; low for an `en` that means nothing else is likely.
    """

    code: str
    confidence: float

    @property
    def is_english(self) -> bool:
        """Whether nothing speaks against English."""
        return self.code == "en"


class LanguageDetector:
    """Tell the language of a text, by its script and by a naive Bayes classifier that comes in a package (75 MB)."""

    def __init__(self) -> None:
        self._identifier: LanguageIdentifier | None = None
        try:
            self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        except OSError as error:  # it unpacks into a temporary file
            log.warning("text is not checked for its language, only for its script: %s", error)

    def detect(self, text: str) -> Language:
        """Return the language of a text; English where there is too little of it to tell."""
        text = _ADDRESS.sub(" ", text)
        letters = [character for character in text if character.isalpha()]
        foreign = "".join(character if not _is_latin(character) else " " for character in text)
        share = sum(character.isalpha() for character in foreign) / max(1, len(letters))
        if share >= FOREIGN_SHARE:
            code, confidence = self._identifier.classify(foreign) if self._identifier else ("und", share)
            return Language("und" if code in ("en", NO_LANGUAGE) else code, confidence)
        words = set(re.findall(r"\w+", text.lower()))
        if self._identifier is None or len(words) < MIN_WORDS:
            return Language("en", 0.0)
        probabilities = dict(self._identifier.rank(text))
        code = max(probabilities, key=lambda name: probabilities[name])
        if code != NO_LANGUAGE and probabilities[code] >= MIN_CONFIDENCE and probabilities["en"] <= MAX_ENGLISH:
            return Language(code, probabilities[code])
        return Language("en", probabilities["en"])


def _is_latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith(("LATIN", "FULLWIDTH LATIN"))
