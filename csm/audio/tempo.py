"""Change the speed of audio while it is generated, with the pitch kept."""

from collections.abc import Generator, Iterable

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Samples

MIN_SPEED = 0.5
MAX_SPEED = 2.0

_WINDOW_SECONDS = 0.04
"""Three periods of a low voice. Windows of 30 to 50 ms hardly differ in quality; longer ones add latency."""
_SEARCH_SECONDS = 0.01
"""To either side, so that the range covers one period of a voice of 50 Hz."""
_PREFER_NEAR = 1e-4
"""Penalty on the normalised correlation at the ends of the search range. It decides where correlations are equal, as in
silence and steady tones."""


class TempoChanger:
    """Make audio faster or slower by WSOLA.

    Windows of the input are overlapped at a constant distance in the output. Each is taken from near the position that
    the speed demands, where it continues the previous window best (Verhelst and Roelands 1993, "An overlap-add
    technique based on waveform similarity"). The output does not depend on how the input is divided into chunks.

    Args:
        speed: of the output; 2 halves the duration. At 1, samples are returned unchanged and without delay.
        sample_rate: in Hz.

    Attributes:
        latency: maximum number of input samples that are held back.

    Raises:
        ValueError: the speed is not within `MIN_SPEED` to `MAX_SPEED`.
    """

    def __init__(self, speed: float, sample_rate: int = 24_000) -> None:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise ValueError(f"speed is {speed:g}; {MIN_SPEED:g} to {MAX_SPEED:g} can be used")
        self._speed = speed
        self._hop = round(_WINDOW_SECONDS * sample_rate / 2)
        self._search = round(_SEARCH_SECONDS * sample_rate)
        # A Hann window: its rising and its falling half add up to 1.
        self._rise = np.sin(np.pi / 2 * (np.arange(self._hop) + 0.5) / self._hop) ** 2
        self._input = np.zeros(0)
        self._first = 0  # position in the whole input of `_input[0]`
        self._received = 0
        self._windows = 0
        self._previous = -self._hop  # position of the previous window: the first one continues it at 0
        self.latency = 0 if speed == 1 else 2 * self._hop + self._search

    def process(self, samples: Samples) -> Samples:
        """Take the next samples `[samples]`; return the output samples that they complete, possibly none."""
        if self._speed == 1:
            return samples
        self._received += len(samples)
        self._input = np.concatenate([self._input, samples])
        return self._made(self._received)

    def flush(self) -> Samples:
        """Return the rest of the output, which in total has `1 / speed` times the samples of the input, rounded."""
        if self._speed == 1:
            return np.zeros(0, np.float32)
        rest = round(self._received / self._speed) - self._windows * self._hop
        silence = 2 * self._hop + self._search
        self._input = np.concatenate([self._input, np.zeros(silence)])
        return self._made(self._received + silence)[:rest]

    def _made(self, end: int) -> Samples:
        """Return the output of all windows that are complete when the input ends at `end`."""
        pieces = []
        while (target := round(self._windows * self._hop * self._speed)) + self._search + 2 * self._hop <= end:
            continued = self._previous + self._hop
            position = self._best(continued, target) if self._windows else 0
            falling = self._at(continued) * (1 - self._rise)
            pieces.append(falling + self._at(position) * self._rise)
            self._previous, self._windows = position, self._windows + 1
            self._forget(min(position + self._hop, round(self._windows * self._hop * self._speed) - self._search))
        return np.concatenate(pieces or [np.zeros(0)]).astype(np.float32)

    def _best(self, continued: int, target: int) -> int:
        """Return the position near `target` whose samples are most similar to those at `continued`."""
        first = max(target - self._search, 0)
        reach = self._at(first, target + self._search - first + self._hop)
        products = np.correlate(reach, self._at(continued), "valid")
        sums = np.concatenate([[0.0], np.cumsum(reach**2)])
        likeness = products / np.sqrt(sums[self._hop :] - sums[: -self._hop] + 1e-9)
        scale = np.sqrt(np.square(self._at(continued)).sum()) + 1e-9
        away = np.abs(first + np.arange(len(products)) - target) / self._search
        return first + int(np.argmax(likeness / scale - _PREFER_NEAR * away))

    def _at(self, position: int, count: int | None = None) -> NDArray[np.float64]:
        start = position - self._first
        return self._input[start : start + (count or self._hop)]

    def _forget(self, position: int) -> None:
        """Drop the input before a position."""
        if position > self._first:
            self._input = self._input[position - self._first :]
            self._first = position


def changed(chunks: Iterable[Samples], speed: float, sample_rate: int = 24_000) -> Generator[Samples, None, None]:
    """Yield the chunks of a stream at another speed; see `TempoChanger`. Close the stream if it is a generator."""
    changer = TempoChanger(speed, sample_rate)
    try:
        for chunk in chunks:
            if len(made := changer.process(chunk)):
                yield made
        if len(made := changer.flush()):
            yield made
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
