"""What a speech recogniser is."""

from typing import Protocol

from csm.audio.waveform import Waveform


class Recognizer(Protocol):
    """Speech in, its words out."""

    def recognize(self, waveform: Waveform) -> str | None:
        """Return the words on one line, or None where none are heard with confidence.

        A wrong transcript is worse than none: the model learns from it that words and sound are unrelated.
        """
