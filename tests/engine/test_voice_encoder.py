"""Voices are encoded by one thread, whoever asks, and what goes wrong there is told to who asked."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from csm.engine.stats import EngineStats
from csm.engine.voice_encoder import VoiceEncoder
from csm.model.conversation import Turn
from tests.engine.engine_harness import voice


class Recorder:
    """A runtime that notes which thread encodes."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.inside = 0

    def encode(self, samples: Tensor) -> Tensor:
        self.inside += 1
        assert self.inside == 1, "two voices at once"
        self.threads.append(threading.current_thread().name)
        if len(samples) == 1:
            raise RuntimeError("too short")
        self.inside -= 1
        return torch.full((1, 2), len(samples))


def make(runtime: Any) -> VoiceEncoder:
    return VoiceEncoder(runtime, torch.device("cpu"), EngineStats())


def test_one_thread_encodes_for_all_clients() -> None:
    runtime = Recorder()
    encoder = make(runtime)
    with ThreadPoolExecutor(4) as clients:
        turns = [Turn("0", "", voice(number, 100 + number)) for number in range(20)]
        lengths = [int(codes[0, 0]) for codes in clients.map(encoder.encode, turns)]
    assert lengths == [100 + number for number in range(20)]
    assert set(runtime.threads) == {"voices_0"}
    encoder.close()


def test_an_error_is_raised_in_the_thread_that_asked() -> None:
    encoder = make(Recorder())
    with pytest.raises(RuntimeError, match="too short"):
        encoder.encode(Turn("0", "", voice(0, 1)))
    with pytest.raises(ValueError, match="heard"):
        encoder.encode(Turn("0", "No audio."))
    encoder.close()
