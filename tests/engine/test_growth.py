"""The engine keeps nothing of past requests but the voices that its cache has room for."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from csm import memory_tuning
from csm.engine.api import Sampling
from tests.engine.engine_harness import EngineFactory, Request, SteppedEngine, collect

VOICE_BYTES = 100_000


def speak(engine: SteppedEngine, count: int, voices: int, after: Callable[[], None] = lambda: None) -> None:
    """Run two requests at a time and cancel every tenth."""
    for number in range(0, count, 2):
        pair = [Request("Go.", n % voices, Sampling(seed=n), 2).start(engine) for n in (number, number + 1)]
        if number % 10 == 0:
            engine.step()
            pair[0].close()
        engine.run_dry()
        for generation in pair:
            collect(generation)
        after()


def tensor_bytes() -> int:
    gc.collect()
    return sum(found.nbytes for found in gc.get_objects() if type(found) is torch.Tensor)


def resident_bytes() -> int:
    """Return resident memory after returning free memory to the system."""
    memory_tuning.trim()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_finished_generations_are_not_kept(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    generations = [Request(frames=2, speaker=n).start(engine) for n in range(3)]
    engine.run_dry()
    for generation in generations:
        collect(generation)
    left = weakref.WeakSet(generations)
    del generations, generation
    # The codec's thread keeps its last job until the next one comes.
    speak(engine, 2, 1)
    gc.collect()
    assert len(left) == 0


def test_the_memory_of_tensors_does_not_grow(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine, voice_bytes=VOICE_BYTES)
    speak(engine, 40, 20)
    before = tensor_bytes()
    speak(engine, 60, 20)
    assert tensor_bytes() - before < VOICE_BYTES


def test_a_leak_of_tensors_would_be_noticed(engines: EngineFactory) -> None:
    engine, kept = engines(SteppedEngine, voice_bytes=VOICE_BYTES), list[torch.Tensor]()
    speak(engine, 20, 20)
    before = tensor_bytes()
    speak(engine, 60, 20, after=lambda: kept.append(torch.zeros(10_000)))
    assert tensor_bytes() - before > VOICE_BYTES


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_memory_is_flat_over_a_thousand_requests_with_two_hundred_voices(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine, voice_bytes=VOICE_BYTES)
    speak(engine, 400, 200)
    before, tensors = resident_bytes(), tensor_bytes()
    speak(engine, 1000, 200)
    assert tensor_bytes() - tensors < VOICE_BYTES
    assert resident_bytes() - before < 8_000_000
