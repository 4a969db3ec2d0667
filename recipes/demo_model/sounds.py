"""Draw, vary and label random stretches of recordings on the device that trains.

A draw never transfers a number from the device to the host, so that a GPU never waits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recipes.demo_model import phonemes
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT
from recipes.demo_model.recordings import Recording, Variety

FULL_SCALE = 32767
TAPS = 6
"""Number of samples on either side from which a value is interpolated."""


@dataclass(frozen=True)
class Stretches:
    """A batch.

    Attributes:
        samples: `[batch, samples]`.
        labels: `[batch, frames, LABELS_PER_FRAME]`, from `phonemes.labels`, if known.
        codes: `[batch, codebooks, frames]`, if codes are final.
    """

    samples: Tensor
    labels: Tensor | None = None
    codes: Tensor | None = None


class Source(Protocol):
    """A source from which stretches are drawn."""

    def draw(self, count: int, frames: int, variety: Variety) -> Stretches:
        """Draw `count` stretches of `frames` codec frames."""


class Sounds:
    """The samples and the labels of all recordings, each concatenated, in the memory of one device."""

    def __init__(self, recordings: Iterable[Recording], device: torch.device) -> None:
        """Copy the recordings to the device, as 16-bit samples: an hour takes 173 MB.

        Raises:
            ValueError: there are none.
        """
        samples, lines = [], []
        for recording in recordings:
            samples.append((recording.samples.clip(-1, 1) * FULL_SCALE).round().astype(np.int16))
            lines.append(recording.timeline.astype(np.int16))
        if not samples:
            raise ValueError("there is no recording to draw from")
        self.device = device
        self._samples = torch.from_numpy(np.concatenate(samples)).to(device)
        self._first, self._length = _rows(samples, device)
        # An extra label at the end, because a draw reads a label even if a recording has none.
        self._labels = torch.from_numpy(np.concatenate([*lines, np.zeros(1, np.int16)])).to(device)
        self._first_label, self._label_count = _rows(lines, device)

    def draw(self, count: int, frames: int, variety: Variety) -> Stretches:
        """Draw with torch's global generators; a recording that is too short is padded with silence."""
        which = torch.randint(len(self._length), (count, 1), device=self.device)
        varied = self._random(count) < variety.share
        speed = torch.where(varied, self._between(count, variety.speeds), 1.0)
        room = (self._length[which] - frames * SAMPLES_PER_FRAME * speed).clamp(min=0)
        start = (self._random(count).double() * (room + 1)).floor()
        loudness = 10 ** (self._between(count, variety.decibels) / 20)
        samples = self._played(which, start, speed, frames * SAMPLES_PER_FRAME) * loudness
        return Stretches(samples, self._spoken(which, start, speed, frames))

    def _played(self, which: Tensor, start: Tensor, speed: Tensor, length: int) -> Tensor:
        """Return `[batch, length]`, interpolated by a windowed sinc, whose bandwidth is reduced for speeds above 1."""
        # In float32, positions late in the recordings would be off by a hundredth of a sample.
        places = start + torch.arange(length, device=self.device) * speed.double()
        whole = places.floor()
        behind, band = (places - whole).float(), (1 / speed).clamp(max=1)
        whole, end = whole.long(), self._length[which]
        made = torch.zeros(behind.shape, device=self.device)
        for tap in range(1 - TAPS, TAPS + 1):
            index, distance = whole + tap, tap - behind
            inside = (index >= 0) & (index < end)
            sample = self._samples[self._first[which] + index.clamp(min=0).minimum(end - 1)] * inside
            window = torch.cos(distance * (math.pi / 2 / TAPS)).square()
            made += sample * (band * torch.sinc(distance * band) * window)
        return made / FULL_SCALE

    def _spoken(self, which: Tensor, start: Tensor, speed: Tensor, frames: int) -> Tensor:
        """Return the labels of each stretch, as `phonemes.labels` does."""
        per_label = SAMPLES_PER_FRAME / phonemes.LABELS_PER_FRAME
        middles = (torch.arange(frames * phonemes.LABELS_PER_FRAME, device=self.device) + 0.5) * per_label
        units, count = ((start + middles * speed) / UNIT).long(), self._label_count[which]
        heard = self._labels[self._first_label[which] + units.minimum((count - 1).clamp(min=0))].long()
        heard = torch.where(units < count, heard, phonemes.SILENCE)
        return torch.where(count > 0, heard, phonemes.UNKNOWN).unflatten(1, (frames, phonemes.LABELS_PER_FRAME))

    def _random(self, count: int) -> Tensor:
        return torch.rand(count, 1, device=self.device)

    def _between(self, count: int, ends: tuple[float, float]) -> Tensor:
        return ends[0] + self._random(count) * (ends[1] - ends[0])


def _rows(parts: list[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the start of each part in their concatenation, and its length."""
    lengths = np.array([len(part) for part in parts])
    begins = np.cumsum(lengths) - lengths
    return torch.from_numpy(begins).to(device), torch.from_numpy(lengths).to(device)
