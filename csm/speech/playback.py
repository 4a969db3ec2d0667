"""What the client of a stream has received so far, and what follows from it."""

import time
from collections.abc import Callable

from csm.audio.waveform import Samples

MIN_AHEAD_SECONDS = 1.5
"""Audio is held back only while the client has at least this much left to play."""


class Playback:
    """Count the audio that is sent, and cut it at the request's limit.

    Args:
        sample_rate: in Hz.
        max_seconds: of all audio; None for no limit.
        speed: at which the client plays.
        streamed: whether audio is sent while it is generated.
        clock: returns seconds.

    Attributes:
        reached_limit: whether `max_seconds` are sent.
        was_cut: whether samples were left out because of the limit.
    """

    def __init__(
        self,
        sample_rate: int,
        max_seconds: float | None,
        speed: float,
        streamed: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._max_seconds, self._speed, self._streamed = sample_rate, max_seconds, speed, streamed
        self._clock = clock
        self._began: float | None = None
        self._sent = 0
        self.reached_limit = self.was_cut = False

    @property
    def has_begun(self) -> bool:
        """Whether anything was sent."""
        return self._began is not None

    @property
    def left_seconds(self) -> float:
        """Seconds until the limit."""
        return float("inf") if self._max_seconds is None else self._max_seconds - self._sent / self._rate

    def may_hold(self) -> bool:
        """Return whether audio can be held back: nothing is streamed, or the client still has some to play."""
        if not self._streamed:
            return True
        if self._began is None:
            return False
        return self._sent / self._rate / self._speed - (self._clock() - self._began) > MIN_AHEAD_SECONDS

    def send(self, samples: Samples) -> Samples:
        """Return those of `samples` that are within the limit, and count them as sent."""
        if self._began is None:
            self._began = self._clock()
        if self._max_seconds is not None:
            left = round(self._max_seconds * self._rate) - self._sent
            self.was_cut |= len(samples) > left
            self.reached_limit |= len(samples) >= left
            samples = samples[:left]
        self._sent += len(samples)
        return samples
