"""The text front end: turns the text of a client into segments that the model can say."""

from dataclasses import dataclass, replace

from csm.errors import InvalidRequest
from csm.settings import Settings
from csm.speech import pauses
from csm.speech.language import Language, LanguageDetector
from csm.speech.lexicon import Lexicon
from csm.speech.markup import read_addresses, read_emoji, read_markup
from csm.speech.normalize import normalize
from csm.speech.segments import DEFAULT_LIMITS, DEMO_LIMITS, Limits, Segment, split
from csm.speech.text import clean_lines


@dataclass(frozen=True)
class Script:
    """What is to be said.

    Attributes:
        segments: at least one, in order. The pause after each is spoken too; the last segment has one only if the
            client asked for it.
        language: of the text as it was sent.
        lead: silence before the first segment, in seconds.
    """

    segments: tuple[Segment, ...]
    language: Language
    lead: float = 0.0


class TextFrontend:
    """Prepare texts for the model. Build one and reuse it: it reads the lexicon and loads the language classifier.

    Args:
        settings: `normalize` and `lexicon`.

    Raises:
        SettingsError: the lexicon cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._normalize = settings.normalize
        self._lexicon = Lexicon.from_settings(settings)
        self._detector = LanguageDetector()
        self._limits = DEMO_LIMITS if settings.is_demo else DEFAULT_LIMITS

    def prepare(self, text: str, limits: Limits | None = None) -> Script:
        """Return the script of a text; thread-safe and without side effects.

        The order of the steps matters. Cleaning comes first, so that invisible characters cannot hide anything. Pauses
        are removed before other rules see their brackets and digits. Respelling comes after addresses, which it would
        break, and before numbers, so that an entry of the lexicon can name what the client wrote (`k8s`). Splitting
        comes last: only then are the lengths known, and most full stops that do not end a sentence have been removed.

        Args:
            text: of the client.
            limits: of the segments; None for those of the model.

        Raises:
            InvalidRequest: a pause is malformed, or there is nothing to say.
        """
        limits = limits or self._limits
        parts = pauses.parse(clean_lines(text))
        language = self._detector.detect("\n".join(part for part, _ in parts))
        segments: list[Segment] = []
        lead = 0.0
        for part, silence in parts:
            said = split(self._written_out(part, language), limits if not segments else limits.later())
            said = [segment for segment in said if any(character.isalnum() for character in segment.text)]
            # A pause marker replaces the pause of the punctuation before it; adjacent markers add up.
            if said:
                segments += [*said[:-1], replace(said[-1], pause=silence)]
            elif segments:
                segments[-1] = replace(segments[-1], pause=segments[-1].pause + silence)
            else:
                lead += silence
        if not segments:
            raise InvalidRequest("text: there is nothing to say; send words")
        return Script(tuple(segments), language, lead)

    def _written_out(self, text: str, language: Language) -> str:
        """Return a text as it is read aloud; numbers and symbols become English words, so only in English texts."""
        is_normalized = self._normalize and language.is_english
        if is_normalized:
            # Cleaned again, because markup and entities can hide special tokens: `<|AU**DIO|>`.
            text = clean_lines(read_addresses(read_emoji(read_markup(text))))
        text = self._lexicon.respell(text)
        if is_normalized:
            text = normalize(text)
        return clean_lines(text)
