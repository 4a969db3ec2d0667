"""The interface of a speech recogniser."""

from typing import Protocol

from csm.audio.waveform import Waveform


class Recognizer(Protocol):
    """Recognize the words of speech."""

    def recognize(self, waveform: Waveform) -> str | None:
        """Return the words on one line, or None if none are recognised with confidence.

        A wrong transcript is worse than none: it shows the model words that do not match the audio.
        """
