"""WAV output: mono 16-bit PCM of known or unknown length."""

import io
import struct

from csm.audio.encoders.pcm import BYTES_PER_SAMPLE

HEADER_BYTES = 44
UNKNOWN = 0xFFFFFFFF
"""Size that readers take for "until the end of the stream"; with zero, many play nothing."""


class WavEncoder:
    """Put a header before PCM; see `csm.audio.encoders.make_encoder`."""

    def __init__(self, sample_rate: int, *, streamed: bool = True) -> None:
        self._sample_rate = sample_rate
        self._header = streaming_header(sample_rate)
        self._whole = None if streamed else io.BytesIO()

    def encode(self, pcm: bytes) -> bytes:
        """Return the samples, the first ones after the header."""
        if self._whole is not None:
            self._whole.write(pcm)
            return b""
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        """Return the file if it is not streamed, else the header if nothing was encoded."""
        if self._whole is None:
            return self._header
        pcm = self._whole.getvalue()
        return header(self._sample_rate, len(pcm)) + pcm

    def close(self) -> None:
        """Release the samples."""
        self._whole = None


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


def _header(sample_rate: int, riff_bytes: int, data_bytes: int) -> bytes:
    pcm, channels, bits = 1, 1, 8 * BYTES_PER_SAMPLE
    byte_rate = sample_rate * BYTES_PER_SAMPLE
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, pcm, channels, sample_rate, byte_rate, BYTES_PER_SAMPLE, bits)
    return struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", data_bytes)
