"""Simulate the player of a streamed answer: where would a listener hear gaps?"""

import time
from collections.abc import Callable

BUFFER_SECONDS = 0.2
"""Audio that the player of a client buffers before it starts."""

AUDIBLE_GAP_SECONDS = 0.1
"""Gaps up to this length pass as pauses of the speaker; vLLM-Omni's threshold of continuity."""


class SimulatedPlayer:
    """A player that starts once it has buffered some audio.

    If its buffer runs empty, which is an underrun, it continues with the next audio. A client that stops reading,
    because its user pressed pause, cannot be told from one that listens to a gap.

    Args:
        buffer: seconds of audio that it buffers.
        clock: returns seconds.

    Attributes:
        seconds: duration of all audio received.
        ends: when all audio received so far will have been played, by the clock; None until it starts.
        gaps: duration of each underrun, in seconds.
    """

    def __init__(self, buffer: float = BUFFER_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer, self._clock = buffer, clock
        self.seconds = 0.0
        self.ends: float | None = None
        self.gaps: list[float] = []

    @property
    def is_continuous(self) -> bool:
        """Whether there was no audible gap."""
        return max(self.gaps, default=0.0) <= AUDIBLE_GAP_SECONDS

    def receive(self, seconds: float) -> None:
        """Receive the next piece of audio, of that duration."""
        now = self._clock()
        self.seconds += seconds
        if self.ends is None:
            if self.seconds >= self._buffer:
                self.ends = now + self.seconds
            return
        if now > self.ends:
            self.gaps.append(now - self.ends)
            self.ends = now
        self.ends += seconds
