"""Stretches of recordings to train the codec on, varied so that a few hundred voices sound like many."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recipes.demo_model import phonemes, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.speech import Sentence

Samples = NDArray[np.float32]

MARGIN = 256
"""Samples cut off at both ends of a resampled stretch: the transform takes it for periodic."""


@dataclass(frozen=True)
class Recording:
    """A sentence in memory.

    Attributes:
        samples: at 24 kHz.
        timeline: which sound is spoken when, from `phonemes.timeline`; empty where that is not known.
    """

    samples: Samples
    timeline: phonemes.Labels = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Variety:
    """How recordings are changed.

    Attributes:
        share: of the stretches that are played slower or faster, pitch and all: a new voice each.
        speeds: the slowest and the fastest.
        decibels: the quietest and the loudest.
    """

    share: float = 0.7
    speeds: tuple[float, float] = (0.85, 1.18)
    decibels: tuple[float, float] = (-9.0, 2.0)


NONE = Variety(share=0.0, decibels=(0.0, 0.0))


@dataclass(frozen=True)
class Stretches:
    """A batch.

    Attributes:
        samples: `[batch, samples]`.
        labels: `[batch, frames, LABELS_PER_FRAME]`, from `phonemes.labels`.
    """

    samples: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Stretches":
        """On another device."""
        return Stretches(self.samples.to(device), self.labels.to(device))


def load(sentence: Sentence) -> Recording:
    """Samples and timeline of a sentence."""
    return Recording(speech.load(sentence), phonemes.timeline(sentence.phonemes, sentence.durations))


def draw(
    recordings: Sequence[Recording], count: int, frames: int, rng: np.random.Generator, variety: Variety = NONE
) -> Stretches:
    """Random stretches of random recordings, padded with silence where one is shorter than `frames`."""
    drawn = [_draw_one(recordings[int(rng.integers(len(recordings)))], frames, rng, variety) for _ in range(count)]
    samples, labels = zip(*drawn, strict=True)
    return Stretches(torch.from_numpy(np.stack(samples)), torch.from_numpy(np.stack(labels)))


def play(samples: Samples, speed: float) -> Samples:
    """Resampled: played at `speed`, which moves the pitch and the formants with it."""
    wanted = round(len(samples) / speed)
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(wanted // 2 + 1, spectrum.dtype)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    return (np.fft.irfft(kept, wanted) * (wanted / len(samples))).astype(np.float32)


def _draw_one(
    recording: Recording, frames: int, rng: np.random.Generator, variety: Variety
) -> tuple[Samples, phonemes.Labels]:
    wanted = frames * SAMPLES_PER_FRAME
    speed = float(rng.uniform(*variety.speeds)) if rng.random() < variety.share else 1.0
    length = wanted if speed == 1.0 else int((wanted + 2 * MARGIN) * speed)
    start = int(rng.integers(max(1, len(recording.samples) - length + 1)))
    piece = recording.samples[start : start + length]
    if speed != 1.0:
        piece, start = play(_padded(piece, length), speed)[MARGIN:], start + int(MARGIN * speed)
    loudness = 10 ** (rng.uniform(*variety.decibels) / 20)
    return _padded(piece, wanted) * np.float32(loudness), phonemes.labels(recording.timeline, start, speed, frames)


def _padded(piece: Samples, wanted: int) -> Samples:
    """Exactly this many samples."""
    return np.pad(piece[:wanted], (0, max(0, wanted - len(piece))))
