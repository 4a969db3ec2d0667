"""Mark a stream of speech without delay."""

import numpy as np
import torch

from csm.audio.watermark.perth import HOP, REACH, WINDOW, Perth
from csm.audio.waveform import Samples

_CONTEXT = -(-(REACH + WINDOW // 2) // HOP) * HOP
"""Samples before a chunk that influence its marks, in whole frames (220 ms). More of them would change nothing."""

_FADE = HOP
"""Samples over which a step at the border of two chunks is faded out (10 ms)."""


class Marker:
    """Mark the chunks of one stream.

    A chunk is marked with what came before it as context, but without what comes after it, so nothing is held back. The
    mark at the end of a chunk therefore differs from what the next chunk suggests, which would be heard as a click. The
    difference is faded out at the start of the next chunk.
    """

    def __init__(self, perth: Perth) -> None:
        self._perth = perth
        self._before = np.zeros(_CONTEXT, np.float32)
        self._last_change = np.float32(0)

    def process(self, samples: Samples) -> Samples:
        """Return the next samples of the stream, `[samples]` of 24 kHz, with the mark."""
        if not len(samples):
            return samples
        heard = np.concatenate([self._before, samples])
        change: Samples = self._perth.change(torch.from_numpy(heard)).numpy()
        step = self._last_change - change[_CONTEXT - 1]
        change = change[_CONTEXT:]
        fade = np.cos(np.pi / 2 * np.arange(1, _FADE + 1, dtype=np.float32) / (_FADE + 1)) ** 2
        change[:_FADE] += step * fade[: len(change)]
        self._before, self._last_change = heard[-_CONTEXT:], change[-1]
        return samples + change
