"""The text front end: what a client wrote, turned into segments that the model can say."""

from dataclasses import dataclass, replace

from csm.errors import InvalidRequest
from csm.settings import Settings
from csm.speech import pauses
from csm.speech.language import Language, LanguageDetector
from csm.speech.lexicon import Lexicon
from csm.speech.markup import read_addresses, read_emoji, read_markup
from csm.speech.normalize import normalize
from csm.speech.segments import DEFAULT_LIMITS, Limits, Segment, split
from csm.speech.text import clean_lines


@dataclass(frozen=True)
class Script:
    """What is to be said.

    Attributes:
        segments: at least one, in order; the pause after each is part of the script, after the last one only if the
            client asked for it.
        language: of the text as it was sent.
        lead: seconds of silence before the first segment.
    """

    segments: tuple[Segment, ...]
    language: Language
    lead: float = 0.0


class TextFrontend:
    """Prepare texts for the model; built once, since the lexicon is read and the language classifier is loaded.

    Args:
        settings: `normalize` and `lexicon`.

    Raises:
        SettingsError: the lexicon cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._normalize = settings.normalize
        self._lexicon = Lexicon.from_settings(settings)
        self._detector = LanguageDetector()

    def prepare(self, text: str, limits: Limits = DEFAULT_LIMITS) -> Script:
        """Return the script of a text; pure and safe to call from several threads.

        Cleaning comes first, so that nothing hides in invisible characters. Pauses are taken out before rules read
        brackets and digits. Respelling follows addresses, which a respelling would break, and goes before numbers, so
        that an entry can name what the client wrote (`k8s`). Splitting comes last: only then are the lengths known, and
        full stops left that end no sentence are few.

        Raises:
            InvalidRequest: a pause is malformed, or there is nothing to say.
        """
        parts = pauses.parse(clean_lines(text))
        language = self._detector.detect("\n".join(part for part, _ in parts))
        segments: list[Segment] = []
        lead = 0.0
        for part, silence in parts:
            said = split(self._written_out(part, language), limits if not segments else limits.later())
            said = [segment for segment in said if any(character.isalnum() for character in segment.text)]
            # Silence that was asked for replaces that of the punctuation, and adds up over neighbouring markers.
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
        """Return a text as it is read aloud; numbers and symbols only of English, whose words they would become."""
        is_normalized = self._normalize and language.is_english
        if is_normalized:
            # Cleaned again, since markup and entities hide special tokens: `<|AU**DIO|>`.
            text = clean_lines(read_addresses(read_emoji(read_markup(text))))
        text = self._lexicon.respell(text)
        if is_normalized:
            text = normalize(text)
        return clean_lines(text)
