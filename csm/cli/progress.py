"""Show progress: on a terminal, one line that is rewritten; elsewhere, nothing until the end."""

from time import monotonic
from typing import TextIO

BYTES_PER_SECOND = 2 * 24_000
CHARACTERS_PER_SECOND = 15
"""Average pace of speech."""

WIDTH = 24
CLEAR = "\r\033[K"


class Progress:
    """Show the seconds of audio so far, the real-time factor, and a bar that assumes an average pace of speech.

    Args:
        stream: to write to.
        text: that is spoken.
    """

    def __init__(self, stream: TextIO, text: str) -> None:
        self._stream, self._live = stream, stream.isatty()
        self._expected = max(1.0, len(text) / CHARACTERS_PER_SECOND)
        self._first: tuple[float, float] | None = None
        self._summary = "no audio"

    def update(self, pcm_bytes: int) -> None:
        """Show the progress after `pcm_bytes` of 16-bit PCM at 24 kHz."""
        now, seconds = monotonic(), pcm_bytes / BYTES_PER_SECOND
        self._summary = f"{seconds:.1f} s of audio"
        if self._first is None:
            self._first = now, seconds
        elif seconds > self._first[1]:
            # Measured from the first chunk, since the time before it is spent on the prompt.
            factor = (now - self._first[0]) / (seconds - self._first[1])
            self._summary += f", real-time factor {factor:.2f}"
        if self._live:
            done = round(WIDTH * min(1.0, seconds / self._expected))
            self._stream.write(f"{CLEAR}[{'#' * done}{'-' * (WIDTH - done)}] {self._summary}")
            self._stream.flush()

    def finish(self, result: str) -> None:
        """Replace the bar by a line with the result and the summary."""
        self._stream.write(f"{CLEAR if self._live else ''}{result}: {self._summary}\n")
