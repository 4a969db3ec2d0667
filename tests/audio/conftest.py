import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from csm.audio.decode import ffmpeg_path
from csm.audio.waveform import Waveform
from tests.corpus.ffmpeg import speech_wav
from tests.torch_threads import one_thread  # noqa: F401


@pytest.fixture(scope="session")
def speech() -> Waveform:
    """Return five seconds of a recorded voice at 48 kHz."""
    samples, rate = soundfile.read(io.BytesIO(speech_wav()), dtype="float32")
    return Waveform(np.ascontiguousarray(samples), rate)


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Replace ffmpeg by a shell script that claims to be a recent version."""

    def install(script: str, options: str = "echo ' -fd <int>'") -> Path:
        program = tmp_path / "ffmpeg"
        program.write_text(f'#!/bin/sh\ncase "$*" in *protocol=fd*) {options}; exit;; esac\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
        monkeypatch.setenv("PATH", "/nonexistent")
        ffmpeg_path.cache_clear()
        return program

    yield install
    ffmpeg_path.cache_clear()
