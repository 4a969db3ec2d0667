"""The type of audio inside the server."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono audio.

    Attributes:
        samples: float32 of shape `[samples]`, nominally within -1..1.
        sample_rate: in Hz.
    """

    samples: Samples
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate

    @property
    def fingerprint(self) -> bytes:
        """Hash of the samples."""
        return hashlib.blake2b(self.samples.tobytes(), digest_size=20).digest()
