"""Encoding with the very ffmpeg that the server decodes with, but without its restraints."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from csm.audio.decode import ffmpeg_path

EXAMPLES = Path(__file__).parents[2] / "examples"
RECORDINGS = Path(__file__).parents[1] / "audio" / "data"


@cache
def speech_wav() -> bytes:
    """Five seconds of the sample voice: 48 kHz, mono, 16 bits, with a known length."""
    sample = (EXAMPLES / "voice.webm").read_bytes()
    return encode("-ac", "1", "-c:a", "pcm_s16le", "-t", "5", source=sample, suffix=".wav")


def encode(*options: str, suffix: str, source: bytes | None = None) -> bytes:
    """Turn `source` (`speech_wav()` when None) into the file that `ffmpeg options` writes.

    `SOURCE` in the options stands for the source's path, for commands that name their inputs themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "source"), Path(folder, "made" + suffix)
        given.write_bytes(speech_wav() if source is None else source)
        inputs = [] if "SOURCE" in options or "lavfi" in options else ["-i", str(given)]
        named = [str(given) if option == "SOURCE" else option for option in options]
        command = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", *inputs, *named, "-bitexact", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return made.read_bytes()


def piped(*options: str) -> bytes:
    """Return the speech as ffmpeg writes it to a pipe: live, so no index, no duration, no sizes."""
    command = [ffmpeg_path(), "-v", "error", "-i", "pipe:0", *options, "-bitexact", "pipe:1"]
    return subprocess.run(command, input=speech_wav(), check=True, capture_output=True, timeout=120).stdout
