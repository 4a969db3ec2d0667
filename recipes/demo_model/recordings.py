"""Recordings in memory, and how they are varied so that a few hundred voices sound like many."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recipes.demo_model import phonemes, speech
from recipes.demo_model.speech import Sentence

Samples = NDArray[np.float32]


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


def load(sentence: Sentence) -> Recording:
    """Samples and timeline of a sentence."""
    return Recording(speech.load(sentence), phonemes.timeline(sentence.phonemes, sentence.durations))


def play(samples: Samples, speed: float) -> Samples:
    """Resampled: played at `speed`, which moves the pitch and the formants with it."""
    wanted = round(len(samples) / speed)
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(wanted // 2 + 1, spectrum.dtype)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    return (np.fft.irfft(kept, wanted) * (wanted / len(samples))).astype(np.float32)
