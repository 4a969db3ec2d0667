"""What an engine counts and measures while it runs."""

import pytest
import torch

from csm.engine.api import Sampling
from csm.engine.devices import memory
from csm.engine.stats import EngineStats, Histogram
from tests.engine.engine_harness import EngineFactory, Request, SteppedEngine, collect

SAMPLING = Sampling(seed=3)


def test_a_value_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram((1, 2.5, 10))
    for value in (0, 1, 1.5, 2.5, 11, 12):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 0, 2]
    assert histogram.sum == 28


def count(histogram: Histogram) -> int:
    return sum(histogram.counts)


@pytest.fixture
def engine(engines: EngineFactory) -> SteppedEngine:
    return engines(SteppedEngine)


def test_generations_that_run_together_are_counted(engine: SteppedEngine) -> None:
    requests = [Request("One.", 0, SAMPLING, 4), Request("Two.", 0, SAMPLING, 4), Request("Three.", 1, SAMPLING, 2)]
    generations = [request.start(engine) for request in requests]
    engine.run_dry()
    frames = sum(len(chunk.codes) for generation in generations for chunk in collect(generation)[0])
    stats = engine.stats()
    assert stats.batch_size.sum == frames == 10
    assert count(stats.step_seconds) == count(stats.batch_size) < frames
    assert count(stats.queue_seconds) == count(stats.real_time_factor) == 3
    assert (stats.voice_queries, stats.voice_hits, count(stats.encode_seconds)) == (3, 0, 2)
    requests[0].start(engine)
    assert (engine.stats().voice_queries, engine.stats().voice_hits) == (4, 1)
    assert count(stats.decode_seconds) > 0
    for histogram in (stats.step_seconds, stats.real_time_factor, stats.encode_seconds, stats.decode_seconds):
        assert histogram.sum > 0


def test_cached_positions_are_not_counted_as_prefilled(engine: SteppedEngine) -> None:
    counted: list[int] = []
    for _ in range(2):
        Request("The same.", 0, SAMPLING, 1).start(engine)
        engine.run_dry()
        counted.append(engine.stats().prefilled_positions)
    first, both = counted
    assert 0 < both - first < first


def test_the_use_of_the_kv_cache_is_that_of_running_generations(engine: SteppedEngine) -> None:
    assert engine.stats().kv_usage == 0
    Request("Say this.", 0, SAMPLING, 5).start(engine)
    engine.step()
    one = engine.stats().kv_usage
    Request("Say this.", 0, SAMPLING, 5).start(engine)
    engine.step()
    assert 0 < one < engine.stats().kv_usage < 1
    engine.run_dry()
    assert engine.stats().kv_usage == 0


def test_a_cancelled_generation_has_no_real_time_factor(engine: SteppedEngine) -> None:
    generation = Request("Say this.", 0, SAMPLING, 50).start(engine)
    engine.step()
    generation.close()
    engine.run_dry()
    assert count(engine.stats().real_time_factor) == 0


def test_only_a_gpu_has_memory_of_its_own() -> None:
    assert memory(torch.device("cpu")) is None
    assert EngineStats().device_memory is None


@pytest.mark.gpu
def test_the_memory_of_a_gpu_is_told() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    held = torch.zeros(2**20, device="cuda")
    told = memory(torch.device("cuda", 0))
    assert told is not None and held.nbytes <= told.allocated <= told.used <= told.total
