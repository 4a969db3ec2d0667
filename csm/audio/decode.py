"""Decoding of any common recording to mono, by an ffmpeg that can access nothing but the bytes it is given."""

import shutil
import struct
import subprocess
import sys
from functools import cache

import imageio_ffmpeg
import numpy as np

from csm.audio import sandbox
from csm.audio.waveform import Samples, Waveform
from csm.errors import DeadlineExceeded, ModelUnavailable, UndecodableAudio

MIN_RATE = 4_000
MAX_RATE = 192_000

# What browsers, phones and recorders write. No playlists, manifests or images: nothing that refers to another file.
_FORMATS = "aac,aiff,amr,au,caf,flac,matroska,mov,mp3,ogg,wav"
_CODECS = (
    "aac,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,flac,mp3,mp3float,opus,vorbis,pcm_alaw,pcm_f32be,"
    "pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8"
)
_REMEDY = "send wav, mp3, m4a, mp4, webm, ogg, opus, flac, aac or aiff with an audio track"

# ffmpeg writes Sun AU: six big-endian words, then samples to the end. Unlike raw PCM it tells the sample rate, its
# header is the simplest there is, and it allows for an unknown length.
_AU_HEADER = struct.Struct(">4s5I")
_AU_FLOAT32 = 6
_AU_SLACK = 4096


def decode(data: bytes, max_seconds: float, *, limits: sandbox.Limits | None = None) -> Waveform:
    """Decode the first audio track at its own sample rate, mixed down to mono.

    Samples are as in the file: they may exceed -1..1 or be NaN. Leading silence counts towards `max_seconds`, so pass
    more than `condition` is to keep.

    Args:
        data: a whole file in any container that browsers, phones and recorders write.
        max_seconds: where decoding ends.
        limits: of the decoder process; None for what `max_seconds` at `MAX_RATE` needs.

    Raises:
        UndecodableAudio: there is no audio in it that can be decoded within the limits.
        DeadlineExceeded: decoding did not end in time because the machine is busy.
        ModelUnavailable: ffmpeg is missing or cannot be started.
    """
    if not data:
        raise UndecodableAudio(f"The audio file is empty: {_REMEDY}.")
    limits = limits or sandbox.Limits(output_bytes=int(max_seconds * MAX_RATE) * 4 + _AU_SLACK)
    outcome = sandbox.run(_command(ffmpeg_path(), max_seconds), data, limits)
    _refuse_failure(outcome)
    return _parse_au(outcome.output, max_seconds)


@cache
def ffmpeg_path() -> str:
    """Return the ffmpeg to use: `IMAGEIO_FFMPEG_EXE`, else the wheel's, else the one on the path.

    Called at start-up, so that a server without a decoder says so before its first request.

    Raises:
        ModelUnavailable: none of them can read from a descriptor, which takes ffmpeg 7.1.
    """
    for candidate in (_from_wheel(), shutil.which("ffmpeg")):
        if candidate and _reads_descriptors(candidate):
            return candidate
    raise ModelUnavailable(
        "No ffmpeg 7.1 or newer was found: `pip install imageio-ffmpeg`, or name one in IMAGEIO_FFMPEG_EXE."
    )


def _from_wheel() -> str | None:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None


def _reads_descriptors(executable: str) -> bool:
    """Return whether the `fd` protocol takes a descriptor: a pipe cannot seek, and a path would mean a file on disk."""
    command = [executable, "-hide_banner", "-h", "protocol=fd"]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"-fd " in answer.stdout


def _command(executable: str, max_seconds: float) -> list[str]:
    decoder = ["-threads", "1", "-codec_whitelist", _CODECS, "-vn", "-sn", "-dn"]
    source = ["-protocol_whitelist", "fd", "-format_whitelist", _FORMATS, "-fd", "0", "-t", f"{max_seconds:.3f}"]
    mono_floats = ["-map", "0:a:0", "-map_metadata", "-1", "-ac", "1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1"]
    return [executable, *quiet, *decoder, *source, "-i", "fd:", *mono_floats]


def _refuse_failure(outcome: sandbox.Outcome) -> None:
    if outcome.overflowed:
        raise UndecodableAudio("The audio file expands to far more sound than its length explains.")
    if outcome.exhausted:
        raise UndecodableAudio("The audio file takes too long to decode; send it as plain wav or mp3.")
    if outcome.timed_out:
        raise DeadlineExceeded("The reference audio was not decoded in time: the server is too busy. Try again later.")
    if outcome.returncode in (126, 127):
        raise ModelUnavailable("The audio decoder cannot be started: check that ffmpeg is installed and executable.")
    if outcome.returncode != 0:
        raise UndecodableAudio(f"The file is damaged or is not audio that can be decoded: {_REMEDY}.")


def _parse_au(stream: memoryview, max_seconds: float) -> Waveform:
    if len(stream) < _AU_HEADER.size:
        raise UndecodableAudio(f"No sound was found in the audio file: {_REMEDY}.")
    magic, start, _, encoding, rate, channels = _AU_HEADER.unpack_from(stream)
    if (magic, encoding, channels) != (b".snd", _AU_FLOAT32, 1):
        raise UndecodableAudio(f"The audio file cannot be decoded: {_REMEDY}.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UndecodableAudio(f"The sample rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be used.")
    samples = _floats(stream, start, int(max_seconds * rate))
    if not len(samples):
        raise UndecodableAudio(f"The audio file holds no samples; it may have been cut off: {_REMEDY}.")
    return Waveform(samples, rate)


def _floats(stream: memoryview, start: int, max_count: int) -> Samples:
    """Return the samples without a copy: a minute at 192 kHz takes 46 MB."""
    count = min(max(len(stream) - start, 0) // 4, max_count)
    words = np.frombuffer(stream, np.uint32, count, start if count else 0)
    if sys.byteorder == "little":
        words.byteswap(inplace=True)
    return np.require(words.view(np.float32), requirements="A")
