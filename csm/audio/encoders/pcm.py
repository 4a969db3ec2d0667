"""Raw output: mono 16-bit little-endian PCM without a header."""

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Samples

BYTES_PER_SAMPLE = 2


def pcm16(samples: Samples) -> bytes:
    """Convert finite float samples to little-endian 16-bit PCM: clipped to -1..1, rounded to nearest."""
    scaled: Samples = np.rint(np.clip(samples, -1.0, 1.0) * np.float32(32767))
    return scaled.astype("<i2").tobytes()


def from_pcm16(pcm: bytes | bytearray | NDArray[np.int16]) -> Samples:
    """Convert little-endian 16-bit PCM to float samples within -1..1."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32767)


class PcmEncoder:
    """Pass PCM on; see `csm.audio.encoders.Encoder`."""

    def encode(self, pcm: bytes) -> bytes:
        """Return the samples."""
        return pcm

    def finish(self) -> bytes:
        """Return nothing, since there is no trailer."""
        return b""

    def close(self) -> None:
        """Do nothing, since nothing is held."""
