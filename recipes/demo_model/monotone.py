"""Speak a recording in a monotone whose periods begin at the same place in each codec frame.

A codec that gets only phonemes and a voice can know neither the pitch of a recording nor its phase. Trained on what it
cannot know, it learns an average, which is a whisper. Of a voice at a constant pitch, of which a whole number of
periods fits into a frame, everything follows from the phonemes. WORLD (Morise et al. 2016) changes nothing else.
"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.demo_model.architecture import FRAME_RATE, SAMPLE_RATE
from recipes.demo_model.recordings import Samples

PERIOD_MS = 10.0
LOWEST = 75.0
UNVOICED = 1 - 1e-9
"""Aperiodicity of sounds without a pitch: they are noise at any pitch."""


def pitch_of(sound: Samples) -> float:
    """Return the median pitch of the voiced parts in Hz, or 0 if there are none."""
    pitch = _pitch(sound.astype(np.float64))[0]
    return float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else 0.0


def monotone(sound: Samples, pitch: float) -> Samples:
    """Return the recording at a constant pitch: the multiple of `FRAME_RATE` that is nearest to `pitch`, in Hz."""
    world, samples = _world(), sound.astype(np.float64)
    contour, times = _pitch(samples)
    envelope = world.cheaptrick(samples, contour, times, SAMPLE_RATE)
    aperiodicity = world.d4c(samples, contour, times, SAMPLE_RATE)
    aperiodicity[contour == 0] = UNVOICED
    constant = np.full_like(contour, max(LOWEST, FRAME_RATE * round(pitch / FRAME_RATE)))
    made = world.synthesize(constant, envelope, aperiodicity, SAMPLE_RATE, PERIOD_MS)[: len(sound)]
    return np.pad(made, (0, len(sound) - len(made))).astype(np.float32)


def _pitch(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pitch over time, 0 where there is none, and the times."""
    world = _world()
    rough, times = world.dio(samples, SAMPLE_RATE, frame_period=PERIOD_MS)
    return world.stonemask(samples, rough, times, SAMPLE_RATE), times


def _world() -> Any:
    return importlib.import_module("pyworld")
