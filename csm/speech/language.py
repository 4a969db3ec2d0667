"""Detect text that is not English: CSM speaks English only, and reads any other language as if it were English."""

import logging
import re
import unicodedata
from dataclasses import dataclass

from py3langid.langid import MODEL_FILE, LanguageIdentifier

MIN_CONFIDENCE = 0.6
"""Minimum probability of another language; the classifier is calibrated, even for single sentences."""

MAX_ENGLISH = 0.02
"""Maximum probability of English in a text of another language; English with foreign names and quotations has more."""

MIN_WORDS = 2
"""Minimum number of different words. One word, even if repeated, may be any language, a name, or laughter."""

FOREIGN_SHARE = 0.3
"""Share of letters in a script other than Latin from which a text is not English."""

NO_LANGUAGE = "zxx"
"""The classifier's code for text in no language, such as program code."""

_ADDRESS = re.compile(r"(?<!\S)\S*(?:://|@|www\.)\S*")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Language:
    """The probable language of a text.

    Attributes:
        code: ISO 639: `en` unless another language is likely; `und` for an unknown language other than English.
        confidence: probability of that language, 0 to 1; low where `en` only means that no other language is likely.
    """

    code: str
    confidence: float

    @property
    def is_english(self) -> bool:
        """Whether the text is taken for English."""
        return self.code == "en"


class LanguageDetector:
    """Detect the language of a text by its script and by the naive Bayes classifier of py3langid (75 MB of memory)."""

    def __init__(self) -> None:
        self._identifier: LanguageIdentifier | None = None
        try:
            self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        except OSError as error:  # it unpacks the model into a temporary file
            log.warning("text is not checked for its language, only for its script: %s", error)

    def detect(self, text: str) -> Language:
        """Return the language of a text; English if the text is too short to tell."""
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
