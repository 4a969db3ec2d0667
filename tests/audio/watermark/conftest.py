import numpy as np
import pytest

from csm.audio.condition import condition
from csm.audio.watermark.perth import Perth
from csm.audio.waveform import Samples
from tests import recordings


@pytest.fixture(scope="session")
def perth() -> Perth:
    """Return the networks with their published weights."""
    return Perth.load()


@pytest.fixture(scope="session")
def voice() -> Samples:
    """Return the speech of the README's reference audio, at 24 kHz."""
    return recordings.voice()[0].samples


@pytest.fixture(scope="session")
def clips(voice: Samples) -> list[Samples]:
    """Return real speech of 24 kHz: the README's reference audio, and five recordings of a reader."""
    read = recordings.librivox() or []
    return [voice, *(condition(recording, 30.0).samples for recording, _ in read)]


@pytest.fixture(scope="session")
def tone() -> Samples:
    """Return a second of a steady tone."""
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)).astype(np.float32)
