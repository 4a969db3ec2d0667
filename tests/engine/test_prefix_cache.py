"""A voice is encoded and read once, kept while there is room, and shared by all who ask for it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from csm.engine.prefix_cache import PrefixCache
from csm.engine.stats import EngineStats
from csm.model.conversation import Turn
from tests.engine.engine_harness import (
    EngineFactory,
    RecordingRuntime,
    Request,
    SteppedEngine,
    codes,
    collect,
    make_conversation,
    voice,
)
from tests.model.prompts import GREEDY

BYTES = 800
"""Of the codes of one turn here."""


class Encoder:
    """Counts what it is asked to encode."""

    def __init__(self) -> None:
        self.asked: list[Turn] = []
        self.error: Exception | None = None
        self.pause = threading.Event()
        self.pause.set()

    def __call__(self, turn: Turn, is_disconnected: Callable[[], bool] = lambda: False) -> Tensor:
        self.asked.append(turn)
        assert self.pause.wait(30)
        if self.error:
            raise self.error
        return torch.zeros(BYTES // 8, 1, dtype=torch.long)


def turn(number: int, text: str = "Heard.", role: str = "0") -> Turn:
    return Turn(role, text, voice(number))


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def test_a_voice_that_cannot_be_encoded_is_not_kept(encoder: Encoder) -> None:
    cache, encoder.error = PrefixCache(10 * BYTES, encoder, EngineStats()), RuntimeError("out of memory")
    for number in range(3):
        with pytest.raises(RuntimeError):
            cache.get([turn(number)])
    assert len(cache) == 0
    encoder.error = None
    assert cache.get([turn(0)]).codes is not None and len(cache) == 1


def test_a_voice_is_encoded_once(encoder: Encoder) -> None:
    cache = PrefixCache(10 * BYTES, encoder, EngineStats())
    first = cache.get([turn(1)])
    assert cache.get([turn(1)]) is first and len(encoder.asked) == 1
    assert cache.size == first.size == BYTES and len(cache) == 1


@pytest.mark.parametrize(
    "other",
    [
        [turn(2)],
        [turn(1, "Other words.")],
        [turn(1, role="1")],
        [turn(1), turn(1)],
        [Turn("0", "Heard.", voice(1, samples=7_999))],
        [Turn("0Heard.", "", voice(1))],
        [],
    ],
)
def test_a_change_of_anything_in_the_prompt_makes_another_voice(encoder: Encoder, other: list[Turn]) -> None:
    cache = PrefixCache(10 * BYTES, encoder, EngineStats())
    assert cache.get([turn(1)]) is not cache.get(other)


def test_the_voice_used_longest_ago_goes_first(encoder: Encoder) -> None:
    cache = PrefixCache(2 * BYTES, encoder, EngineStats())
    one, two = cache.get([turn(1)]), cache.get([turn(2)])
    assert cache.get([turn(1)]) is one
    cache.get([turn(3)])
    assert cache.size == 2 * BYTES and len(encoder.asked) == 3
    assert cache.get([turn(1)]) is one
    assert cache.get([turn(2)]) is not two


def test_a_voice_that_grows_makes_others_go(encoder: Encoder) -> None:
    cache = PrefixCache(3 * BYTES, encoder, EngineStats())
    cache.get([turn(1)])
    cache.get([turn(2)]).prefix = torch.zeros(2 * BYTES // 4)
    assert cache.size == 4 * BYTES
    cache.trim()
    assert cache.size == 3 * BYTES and len(cache) == 1


def test_no_capacity_keeps_nothing_and_still_serves(encoder: Encoder) -> None:
    cache = PrefixCache(0, encoder, EngineStats())
    assert cache.get([turn(1)]).codes is not None
    assert cache.get([turn(1)]).codes is not None
    assert len(encoder.asked) == 2 and len(cache) == 0 and cache.size == 0


def test_a_voice_larger_than_the_capacity_is_served_and_not_kept(encoder: Encoder) -> None:
    cache = PrefixCache(BYTES - 1, encoder, EngineStats())
    assert cache.get([turn(1)]).codes is not None
    assert len(cache) == 0


def test_simultaneous_requests_for_a_voice_wait_for_one_encoding(encoder: Encoder) -> None:
    cache = PrefixCache(10 * BYTES, encoder, EngineStats())
    encoder.pause.clear()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(cache.get, [turn(1)]) for _ in range(8)]
        other = pool.submit(cache.get, [turn(2)])
        encoder.pause.set()
        voices = {id(future.result(30)) for future in asking}
        assert other.result(30).codes is not None
    assert len(voices) == 1 and len(encoder.asked) == 2


def test_one_encoding_does_not_hold_up_another_voice(encoder: Encoder) -> None:
    cache = PrefixCache(10 * BYTES, encoder, EngineStats())
    cache.get([turn(2)])
    encoder.pause.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, [turn(1)])
        assert cache.get([turn(2)]).codes is not None
        assert not slow.done()
        encoder.pause.set()
        assert slow.result(30).codes is not None


def test_an_encoding_that_fails_is_tried_again(encoder: Encoder) -> None:
    cache, encoder.error = PrefixCache(10 * BYTES, encoder, EngineStats()), RuntimeError("odd")
    with pytest.raises(RuntimeError, match="odd"):
        cache.get([turn(1)])
    encoder.error = None
    assert cache.get([turn(1)]).codes is not None


def test_codes_that_are_given_are_not_made_again(encoder: Encoder) -> None:
    cache = PrefixCache(10 * BYTES, encoder, EngineStats())
    known = np.arange(8).reshape(4, 2)
    unknown = turn(2)
    first = cache.get([Turn("0", "Heard.", voice(1), known), unknown])
    assert first.codes[0].tolist() == known.tolist() and encoder.asked == [unknown]
    assert cache.get([turn(1), turn(2)]) is first, "it is the same voice, whoever encoded it"


def test_the_number_of_voices_is_limited_too(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csm.engine.prefix_cache.MAX_VOICES", 3)
    cache = PrefixCache(100 * BYTES, encoder, EngineStats())
    for number in range(5):
        cache.get([turn(number)])
    assert len(cache) == 3


@pytest.mark.parametrize("capacity", [10 * BYTES, 0])
def test_a_forgotten_voice_is_gone_from_every_context(capacity: int, encoder: Encoder) -> None:
    cache = PrefixCache(capacity, encoder, EngineStats())
    cache.get([turn(1)])
    cache.get([turn(1, "Other words.", role="1"), turn(2)])
    kept = cache.get([turn(2)])
    cache.forget(voice(1).fingerprint)
    assert len(cache) == bool(capacity)
    assert (cache.get([turn(2)]) is kept) == bool(capacity)


def answer(engine: SteppedEngine, request: Request) -> list[list[int]]:
    generation = request.start(engine)
    engine.run_dry()
    chunks, end = collect(generation)
    assert end is None
    return codes(chunks).tolist()


def test_the_second_request_with_a_voice_prefills_only_its_text(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime)
    request = Request("The same voice, a new text.", frames=4, sampling=GREEDY)
    first = answer(engine, request)
    read, encoded = runtime.positions_read, runtime.count("encode")
    second = answer(engine, request)
    text = len(engines.tokenizer.encode("[0]The same voice, a new text.", add_special_tokens=False)) + 2
    # The last position of the prompt is the input of the first frame.
    assert runtime.positions_read - read == text - 1
    assert read > text + 8_000 // 1920
    assert runtime.count("encode") == encoded == 1
    assert second == first


def test_a_voice_evicted_while_in_use_serves_its_requests_to_the_end(engines: EngineFactory) -> None:
    wanted = [answer(engines(SteppedEngine), Request(speaker=speaker, frames=6)) for speaker in (0, 1)]
    engine = engines(SteppedEngine, voice_bytes=1)
    running, waiting = (Request(speaker=speaker, frames=6).start(engine) for speaker in (0, 1))
    assert len(engine.voices) == 0
    engine.run_dry()
    assert [codes(collect(generation)[0]).tolist() for generation in (running, waiting)] == wanted
    assert engine.voices.size == 0


def test_two_simultaneous_requests_prefill_a_new_voice_once(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime)
    for _ in range(2):
        Request("Twice.", speaker=7).start(engine)
    engine.run_dry()
    assert runtime.count("encode") == runtime.count("save_prefix") == runtime.count("load_prefix") == 1


def test_the_cache_holds_no_more_bytes_than_its_limit(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    answer(engine, Request(speaker=0, frames=1))
    one = engine.voices.size
    engine = engines(SteppedEngine, voice_bytes=3 * one + 10)
    for speaker in range(6):
        answer(engine, Request(speaker=speaker, frames=1))
        assert engine.voices.size <= 3 * one + 10
    assert len(engine.voices) == 3


def test_conversations_are_made_of_the_same_voice() -> None:
    assert (
        make_conversation("a").context[0].audio.samples.tolist()
        == make_conversation("b").context[0].audio.samples.tolist()
    )
