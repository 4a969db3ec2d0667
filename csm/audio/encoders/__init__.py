"""Output formats: each encoder takes PCM as it is generated, and returns what can be sent at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from csm.audio.encoders.compressed import CompressedEncoder
from csm.audio.encoders.pcm import PcmEncoder
from csm.audio.encoders.wav import WavEncoder


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        name: as clients ask for it.
        media_type: of an answer.
        suffix: of a file name, with the dot.
        aliases: other media types that clients use for it.
    """

    name: str
    media_type: str
    suffix: str
    aliases: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        fmt.name: fmt
        for fmt in (
            Format("wav", "audio/wav", ".wav", ("audio/x-wav", "audio/wave", "audio/vnd.wave")),
            Format("mp3", "audio/mpeg", ".mp3", ("audio/mp3", "audio/x-mp3", "audio/x-mpeg")),
            Format("opus", "audio/ogg", ".opus", ("audio/opus",)),
            Format("aac", "audio/aac", ".aac", ("audio/aacp", "audio/x-aac")),
            Format("flac", "audio/flac", ".flac", ("audio/x-flac",)),
            Format("pcm", "audio/pcm", ".pcm"),
        )
    }
)
"""All formats by name. PCM is what the encoders take: 16 bits, little-endian, mono."""


class Encoder(Protocol):
    """Encode one stream of mono PCM16; used by one thread."""

    def encode(self, pcm: bytes) -> bytes:
        """Take more whole samples; return all output that is complete, which may be none."""

    def finish(self) -> bytes:
        """Return the rest of the output; call it once, only after all audio has been encoded."""

    def close(self) -> None:
        """Release the encoder, finished or not; more calls do nothing."""


def make_encoder(fmt: Format, sample_rate: int, *, streamed: bool = True) -> Encoder:
    """Return an encoder.

    Args:
        fmt: one of `FORMATS`.
        sample_rate: of the PCM, in Hz.
        streamed: whether output is wanted early. Otherwise all of it comes from `finish`, with the exact length in its
            header where the format has a place for it: wav, flac, and mp3 (a Xing header).
    """
    if fmt.name == "wav":
        return WavEncoder(sample_rate, streamed=streamed)
    if fmt.name == "pcm":
        return PcmEncoder()
    return CompressedEncoder(fmt.name, sample_rate, streamed=streamed)
