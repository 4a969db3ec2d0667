"""Simulate the player of a streamed answer: where would a listener hear gaps?"""

import time
from collections.abc import Callable

BUFFER_SECONDS = 0.2
"""Audio that the player buffers before it starts."""

AUDIBLE_GAP_SECONDS = 0.1
"""Gaps up to this length pass as pauses of the speaker; vLLM-Omni's threshold of continuity."""


class SimulatedPlayer:
    """A player that receives the audio at the moment at which the server sends it.

    It starts once it has buffered `BUFFER_SECONDS`. If its buffer runs empty, which is an underrun, it continues with
    the next audio. `benchmarks.playback` simulates the same from a client's side. A client that stops reading, because
    its user pressed pause, cannot be told from one that listens to a gap.

    Args:
        clock: returns seconds.

    Attributes:
        seconds: of audio received.
        underruns: number of gaps.
        gap_seconds: duration of all gaps.
        longest_gap: duration of the longest gap.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: float | None = None
        self.seconds = self.gap_seconds = self.longest_gap = 0.0
        self.underruns = 0

    @property
    def is_continuous(self) -> bool:
        """Whether there was no audible gap."""
        return self.longest_gap <= AUDIBLE_GAP_SECONDS

    def receive(self, seconds: float) -> None:
        """Receive the next piece of audio, of that duration."""
        now = self._clock()
        self.seconds += seconds
        if self._ends is None:
            if self.seconds >= BUFFER_SECONDS:
                self._ends = now + self.seconds
            return
        gap = now - self._ends
        if gap > 0:
            self.underruns += 1
            self.gap_seconds += gap
            self.longest_gap = max(self.longest_gap, gap)
            self._ends = now
        self._ends += seconds
