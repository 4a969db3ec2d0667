"""WAV output: mono 16-bit PCM of known or unknown length."""

import struct

import numpy as np

from csm.audio.waveform import Samples

HEADER_BYTES = 44
UNKNOWN = 0xFFFFFFFF
"""Size that readers take for "until the end of the stream"; with zero, many play nothing."""

_BYTES_PER_SAMPLE = 2


def header(sample_rate: int, data_bytes: int) -> bytes:
    """Return the 44-byte header of `data_bytes` of mono PCM16.

    Raises:
        ValueError: the sizes do not fit into the 32 bits that the format has for them.
    """
    riff_bytes = data_bytes + HEADER_BYTES - 8
    if riff_bytes >= UNKNOWN:
        raise ValueError("a WAV file cannot hold 4 GiB or more")
    return _header(sample_rate, riff_bytes, data_bytes)


def streaming_header(sample_rate: int) -> bytes:
    """Return the 44-byte header of mono PCM16 of unknown length."""
    return _header(sample_rate, UNKNOWN, UNKNOWN)


def pcm16(samples: Samples) -> bytes:
    """Convert finite float samples to little-endian 16-bit PCM: clipped to -1..1, rounded to nearest."""
    scaled: Samples = np.rint(np.clip(samples, -1.0, 1.0) * np.float32(32767))
    return scaled.astype("<i2").tobytes()


def _header(sample_rate: int, riff_bytes: int, data_bytes: int) -> bytes:
    pcm, channels, bits = 1, 1, 8 * _BYTES_PER_SAMPLE
    byte_rate = sample_rate * _BYTES_PER_SAMPLE
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, pcm, channels, sample_rate, byte_rate, _BYTES_PER_SAMPLE, bits)
    return struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", data_bytes)
