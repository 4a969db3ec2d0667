"""Whatever requests run beside it, each gets what it would get alone."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from csm.engine.api import Chunk, Sampling
from csm.engine.request import Generation
from csm.errors import Cancelled, DeadlineExceeded, GenerationFailed, InvalidRequest
from csm.model.conversation import Conversation, Turn
from tests.engine.engine_harness import (
    EngineFactory,
    RecordingRuntime,
    Request,
    SteppedEngine,
    codes,
    collect,
    make_conversation,
    samples,
)
from tests.model.prompts import GREEDY
from tests.polling import wait_until

REQUESTS = [
    Request("One.", 0, GREEDY, 1),
    Request("A second one.", 0, GREEDY, 4),
    Request("Three", 1, Sampling(seed=3), 3),
    Request("Three", 1, Sampling(seed=4), 6),
    Request("The fourth text is longer than a piece", 2, Sampling(seed=5, temperature=1.5, top_k=64), 2),
    Request("x", 0, Sampling(seed=2**63 - 1, temperature=0.5, top_k=3), 7),
    Request("", 1, Sampling(seed=7, temperature=2.0, top_k=1), 3),
]


@pytest.fixture
def alone(engines: EngineFactory) -> list[list[Chunk]]:
    """Return what each request gets when it runs alone."""
    engine = engines(SteppedEngine)
    answers = []
    for request in REQUESTS:
        generation = request.start(engine)
        engine.run_dry()
        answers.append(collect(generation)[0])
    assert [len(codes(chunks)) for chunks in answers] == [request.frames for request in REQUESTS]
    return answers


def same(heard: list[Chunk], expected: list[Chunk]) -> bool:
    """Return whether `heard` is a beginning of `expected`."""
    if not heard:
        return True
    frames = codes(heard)
    sound = samples(expected)[: len(frames) * 1920]
    return np.array_equal(frames, codes(expected)[: len(frames)]) and bool(np.abs(samples(heard) - sound).max() < 1e-5)


class Schedule:
    """Requests that start and are cancelled at random; a pure function of its seed."""

    def __init__(self, seed: int, engine: SteppedEngine) -> None:
        self.random, self.engine = random.Random(seed), engine
        self.live: list[tuple[int, Generation]] = []
        self.all: list[tuple[int, Generation]] = []
        self.cancelled: set[Generation] = set()

    def run(self) -> None:
        for _ in range(self.random.randint(1, 9)):
            if self.random.random() < 0.6:
                self._start()
            if self.live and self.random.random() < 0.2:
                self._cancel()
            self.engine.step()
        self.engine.run_dry()

    def _start(self) -> None:
        number = self.random.randrange(len(REQUESTS))
        generation = REQUESTS[number].start(self.engine)
        self.live.append((number, generation))
        self.all.append((number, generation))

    def _cancel(self) -> None:
        _, generation = self.live.pop(self.random.randrange(len(self.live)))
        generation.close()
        self.cancelled.add(generation)


@pytest.mark.slow
def test_in_two_hundred_random_schedules_each_request_gets_what_it_gets_alone(
    engines: EngineFactory, alone: list[list[Chunk]]
) -> None:
    completed = cancelled = 0
    for seed in range(200):
        engine = engines(SteppedEngine, slots=1 + seed % 4, voice_bytes=(0, 30_000, 10**8)[seed % 3])
        schedule = Schedule(seed, engine)
        schedule.run()
        for number, generation in schedule.all:
            if generation in schedule.cancelled:
                cancelled += 1
                continue
            heard, end = collect(generation)
            assert end is None, f"schedule {seed}: {end}"
            assert len(codes(heard)) == REQUESTS[number].frames, f"schedule {seed}"
            assert same(heard, alone[number]), f"schedule {seed}, request {number}"
            completed += 1
        assert engine.running == 0
        engine.close()
    assert completed > 400 and cancelled > 80


def test_a_cancelled_request_got_the_beginning_of_its_answer(engines: EngineFactory, alone: list[list[Chunk]]) -> None:
    engine = engines(SteppedEngine)
    staying, leaving = REQUESTS[5].start(engine), REQUESTS[3].start(engine)
    for _ in range(4):
        engine.step()
    # The codec decodes in a thread of its own.
    wait_until(lambda: not leaving._chunks.empty())
    leaving.close()
    engine.run_dry()
    heard, end = collect(leaving)
    assert isinstance(end, Cancelled) and 1 <= len(codes(heard)) < REQUESTS[3].frames
    assert same(heard, alone[3])
    assert same(collect(staying)[0], alone[5])


def test_chunks_grow_from_one_frame_to_eight(engines: EngineFactory) -> None:
    request = Request(frames=30)
    chunks = request.run(engines())
    assert [len(chunk.codes) for chunk in chunks] == [1, 2, 4, 8, 8, 7]
    assert all(chunk.samples.shape == (1920 * len(chunk.codes),) for chunk in chunks)
    assert all(chunk.samples.dtype == np.float32 and chunk.codes.dtype == np.int64 for chunk in chunks)


def test_the_slot_of_a_disconnected_client_serves_the_next_request_in_the_same_step(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime, slots=1)
    disconnected = [False]
    first, second = Request(frames=50).start(engine, lambda: disconnected[0]), Request(frames=2).start(engine)
    for _ in range(3):
        engine.step()
    assert engine.running == 1
    made, disconnected[0] = runtime.count("step"), True
    engine.step()
    assert engine.running == 1 and runtime.count("step") == made + 1
    assert isinstance(collect(first)[1], Cancelled)
    engine.run_dry()
    assert collect(second)[1] is None


def test_a_request_cancelled_in_the_queue_is_never_run(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime, slots=1)
    first, second, third = (Request(frames=4, speaker=n).start(engine) for n in range(3))
    engine.step()
    second.close()
    engine.run_dry()
    assert runtime.count("join") == 2
    with pytest.raises(Cancelled):
        next(second)
    assert len(codes(list(first))) == len(codes(list(third))) == 4


def test_a_request_cancelled_during_prefill_is_never_run(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime)
    running = Request(frames=30).start(engine)
    engine.step()
    leaving = Request("A long text, read piece by piece while the other one is speaking.").start(engine)
    engine.step()
    assert engine.running == 2 and runtime.count("join") == 1
    leaving.close()
    engine.step()
    assert engine.running == 1
    engine.run_dry()
    assert runtime.count("join") == 1
    assert len(codes(list(running))) == 30


def test_a_long_prompt_is_prefilled_in_chunks_while_others_generate(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime)
    running = Request(frames=40).start(engine)
    engine.step()
    long = Request("A text of many words, " * 3, speaker=3, frames=1).start(engine)
    pieces = []
    while runtime.count("join") < 2:
        before, made = runtime.positions_read, runtime.count("step")
        engine.step()
        pieces.append(runtime.positions_read - before)
        # Each chunk is prefilled beside a frame of the other request.
        assert runtime.count("step") == made + 1
    assert len(pieces) > 4 and max(pieces) <= engines.runtime.prefill_chunk
    running.close()
    engine.run_dry()
    assert len(codes(list(long))) == 1


def test_a_prompt_is_prefilled_at_once_in_an_idle_engine(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    generation = Request("A text of many words, " * 3, speaker=4, frames=1).start(engine)
    engine.step()
    assert len(codes(list(generation))) == 1


def test_a_prompt_longer_than_the_context_is_refused_at_once(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    with pytest.raises(InvalidRequest, match="shorten"):
        Request("z" * engines.runtime.positions).start(engine)
    assert engine.running == 0 and not engine._scheduler.has_work


def test_a_generation_ends_with_the_context(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    room = engines.runtime.positions - 40
    generation = Request("z" * room, frames=1000).start(engine)
    engine.run_dry()
    chunks, end = collect(generation)
    assert end is None and 1 <= len(codes(chunks)) <= 40


def test_requests_from_many_threads_get_what_they_get_alone(engines: EngineFactory, alone: list[list[Chunk]]) -> None:
    engine = engines(slots=3)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: REQUESTS[n % len(REQUESTS)].run(engine), range(20)))
    for number, heard in enumerate(answers):
        assert same(heard, alone[number % len(REQUESTS)])
        assert len(codes(heard)) == REQUESTS[number % len(REQUESTS)].frames
    wait_until(lambda: engine.running == 0)


def test_a_request_that_waits_longer_than_the_deadline_ends_and_leaves_the_queue(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine, slots=1, patience=0.3)
    waiting = Request().start(engine)
    with pytest.raises(DeadlineExceeded, match="try again later"):
        next(waiting)
    assert waiting.cancelled
    engine.step()
    assert engine.running == 0


def test_a_disconnected_client_is_not_kept_waiting_for_the_deadline(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    with pytest.raises(Cancelled):
        next(Request().start(engine, lambda: True))


def test_closing_the_engine_cancels_running_and_waiting_requests(engines: EngineFactory) -> None:
    engine = engines(runtime=RecordingRuntime(engines.runtime, lambda number, name: time.sleep(0.01)), slots=1)
    speaking, waiting = Request(frames=80).start(engine), Request().start(engine)
    assert next(speaking)
    engine.close()
    for generation in (speaking, waiting):
        with pytest.raises(Cancelled):
            list(generation)
    with pytest.raises(GenerationFailed, match="stopped"):
        Request().start(engine)


def test_a_device_that_does_not_answer_is_reported(engines: EngineFactory) -> None:
    hung = threading.Event()
    engine = engines(
        runtime=RecordingRuntime(engines.runtime, lambda number, name: name == "step" and hung.wait(30)), patience=0.3
    )
    try:
        generation = Request().start(engine)
        with pytest.raises(DeadlineExceeded):
            next(generation)
        wait_until(lambda: engine.failure() is not None)
        assert engine.failure() == "the device does not answer"
    finally:
        hung.set()
    wait_until(lambda: engine.failure() is None)


def test_a_conversation_without_a_voice_is_generated_as_well(engines: EngineFactory) -> None:
    engine = engines()
    chunks = list(engine.generate(Conversation((Turn("0", "Alone."),)), GREEDY, 3, lambda: False))
    assert len(codes(chunks)) == 3
    assert (
        codes(chunks).tolist()
        != codes(list(engine.generate(make_conversation("Alone."), GREEDY, 3, lambda: False))).tolist()
    )


def test_a_top_k_beyond_the_codebook_means_all_codes(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    running = Request(frames=9).start(engine)
    asked = [Request(sampling=Sampling(seed=4, temperature=1.0, top_k=top_k)).start(engine) for top_k in (64, 2051)]
    engine.run_dry()
    one, other = (collect(generation) for generation in asked)
    assert one[1] is None and other[1] is None and collect(running)[1] is None
    assert codes(one[0]).tolist() == codes(other[0]).tolist()
