"""A monotone has a constant pitch, its periods begin at the same place in each frame, and it is as long as before."""

import itertools

import numpy as np
import pytest

from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME

pytest.importorskip("pyworld")

from recipes.demo_model.monotone import monotone, pitch_of


def _gliding(start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    """A voice-like sound: 30 harmonics of a pitch that glides."""
    count = int(seconds * SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(np.linspace(start, end, count)) / SAMPLE_RATE
    return (0.2 * sum(np.sin(order * phase) / order for order in range(1, 31))).astype(np.float32)


def test_the_pitch_is_measured() -> None:
    assert pitch_of(_gliding(110, 110)) == pytest.approx(110, rel=0.02)
    assert pitch_of(np.zeros(SAMPLE_RATE, np.float32)) == 0


def test_each_frame_repeats_the_one_before() -> None:
    flat = monotone(_gliding(110, 160), pitch=130)
    assert flat.dtype == np.float32 and len(flat) == 2 * SAMPLE_RATE
    assert pitch_of(flat) == pytest.approx(125, rel=0.02)
    frames = flat[4 * SAMPLES_PER_FRAME : 20 * SAMPLES_PER_FRAME].reshape(16, SAMPLES_PER_FRAME)
    alike = [np.corrcoef(one, other)[0, 1] for one, other in itertools.pairwise(frames)]
    assert min(alike) > 0.9
