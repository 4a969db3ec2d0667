"""How far it is: on the terminal, one line that is rewritten; elsewhere, nothing until the end."""

from time import monotonic
from typing import TextIO

BYTES_PER_SECOND = 2 * 24_000
CHARACTERS_PER_SECOND = 15
"""Of ordinary speech."""

WIDTH = 24
CLEAR = "\r\033[K"


class Progress:
    """Seconds of audio made so far, and the real-time factor; the bar shows how far it would be at an ordinary pace.

    Args:
        stream: to write to.
        text: that is said.
    """

    def __init__(self, stream: TextIO, text: str) -> None:
        self._stream, self._live = stream, stream.isatty()
        self._expected = max(1.0, len(text) / CHARACTERS_PER_SECOND)
        self._first: tuple[float, float] | None = None
        self._summary = "no audio"

    def update(self, pcm_bytes: int) -> None:
        """Show that so many bytes of 16-bit PCM at 24 kHz have been made."""
        now, seconds = monotonic(), pcm_bytes / BYTES_PER_SECOND
        self._summary = f"{seconds:.1f} s of audio"
        if self._first is None:
            self._first = now, seconds
        elif seconds > self._first[1]:
            # From the first chunk on: what comes before it is reading the voice and the text.
            factor = (now - self._first[0]) / (seconds - self._first[1])
            self._summary += f", real-time factor {factor:.2f}"
        if self._live:
            done = round(WIDTH * min(1.0, seconds / self._expected))
            self._stream.write(f"{CLEAR}[{'#' * done}{'-' * (WIDTH - done)}] {self._summary}")
            self._stream.flush()

    def finish(self, result: str) -> None:
        """Replace the bar by one line that says what became of the audio."""
        self._stream.write(f"{CLEAR if self._live else ''}{result}: {self._summary}\n")
