"""Recordings in memory, and how they are varied to get more voices."""

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
        timeline: classes of phonemes over time, from `phonemes.timeline`; empty if not known.
    """

    samples: Samples
    timeline: phonemes.Labels = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Variety:
    """How recordings are varied.

    Attributes:
        share: of the stretches that are played slower or faster; with the pitch changed, each is a new voice.
        speeds: range of the playback speed.
        decibels: range of the gain.
    """

    share: float = 0.7
    speeds: tuple[float, float] = (0.85, 1.18)
    decibels: tuple[float, float] = (-9.0, 2.0)


NONE = Variety(share=0.0, decibels=(0.0, 0.0))


def load(sentence: Sentence) -> Recording:
    """Load the samples and the timeline of a sentence."""
    return Recording(speech.load(sentence), phonemes.timeline(sentence.phonemes, sentence.durations))


def at_speed(samples: Samples, speed: float) -> Samples:
    """Play samples at `speed`, and scale them to the usual peak again; at 1, they are unchanged."""
    return samples if speed == 1.0 else speech.level(play(samples, speed))


def play(samples: Samples, speed: float) -> Samples:
    """Resample, so as to play samples at `speed`, with pitch and formants changed accordingly."""
    wanted = round(len(samples) / speed)
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(wanted // 2 + 1, spectrum.dtype)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    return (np.fft.irfft(kept, wanted) * (wanted / len(samples))).astype(np.float32)
