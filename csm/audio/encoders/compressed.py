"""MP3, Opus, AAC and FLAC by the encoders of FFmpeg's libraries, in this process (PyAV)."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import av
import numpy as np


@dataclass(frozen=True)
class Codec:
    """How a format is encoded; the options are FFmpeg's.

    Attributes:
        name: of the encoder.
        container: of the output.
        bit_rate: in bit/s; None for lossless.
        options: of the encoder.
        muxing: options of the container.
        streaming: further options of the container if the output cannot be rewritten at the end.
        delay_bytes: at the start of a stream, which hold nothing but the delay of the encoder, and are left out.
    """

    name: str
    container: str
    bit_rate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    muxing: Mapping[str, str] = field(default_factory=dict)
    streaming: Mapping[str, str] = field(default_factory=dict)
    delay_bytes: int = 0


# Usual bit rates of mono speech.
CODECS = {
    # A stream has no Xing header, because the number of frames is not known, so nothing tells players about the delay
    # of 1,105 samples. The first frame has 576 of them; without a bit reservoir, no other frame needs it.
    "mp3": Codec(
        "libmp3lame",
        "mp3",
        64_000,
        options={"reservoir": "0"},
        muxing={"id3v2_version": "0"},
        streaming={"write_xing": "0"},
        delay_bytes=192,
    ),
    # A page of Ogg leaves when the next one begins. By default a page lasts a second; here, it lasts one frame (20 ms).
    "opus": Codec("libopus", "ogg", 32_000, muxing={"page_duration": "20000"}),
    "aac": Codec("aac", "adts", 64_000),
    # Frames of 20 ms instead of 96; the file is 2 % larger. No 8 KB of padding for tags.
    "flac": Codec("flac", "flac", options={"frame_size": "480"}, muxing={"metadata_header_padding": "0"}),
}

# Without `flush_packets`, output waits until 32 KB are full. `bitexact` leaves out random serial numbers and versions,
# so that the same audio gives the same bytes.
_COMMON = {"flush_packets": "1", "fflags": "+bitexact"}


class CompressedEncoder:
    """Encode PCM with one of `CODECS`; see `csm.audio.encoders.make_encoder`."""

    def __init__(self, name: str, sample_rate: int, *, streamed: bool = True) -> None:
        codec = CODECS[name]
        self._sample_rate, self._samples = sample_rate, 0
        self._output: _Pipe | io.BytesIO = _Pipe(codec.delay_bytes) if streamed else io.BytesIO()
        options = {**_COMMON, **codec.muxing, **(codec.streaming if streamed else {})}
        self._container = av.open(self._output, "w", format=codec.container, options=options)
        stream = self._container.add_stream(codec.name, sample_rate, options=dict(codec.options), layout="mono")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if codec.bit_rate is not None:
            self._stream.codec_context.bit_rate = codec.bit_rate
        self._container.start_encoding()

    def encode(self, pcm: bytes) -> bytes:
        """See `Encoder.encode`."""
        samples = np.frombuffer(pcm, "<i2")
        if len(samples):
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate, frame.pts = self._sample_rate, self._samples
            self._samples += len(samples)
            self._container.mux(self._stream.encode(frame))
        return self._output.take() if isinstance(self._output, _Pipe) else b""

    def finish(self) -> bytes:
        """See `Encoder.finish`."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._output.take() if isinstance(self._output, _Pipe) else self._output.getvalue()

    def close(self) -> None:
        """See `Encoder.close`."""
        # Writes a trailer, which nobody gets.
        self._container.close()


class _Pipe:
    """A file that can only be written; FFmpeg therefore does not go back to complete a header.

    Args:
        skip: number of bytes at the start to leave out.
    """

    def __init__(self, skip: int = 0) -> None:
        self._written, self._skip = bytearray(), skip

    def write(self, data: bytes) -> int:
        """Keep what FFmpeg has written."""
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = bytes(self._written[self._skip :])
        self._skip = max(0, self._skip - len(self._written))
        self._written.clear()
        return taken
