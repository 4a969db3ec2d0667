"""An error ends only the requests it belongs to; a lost device is reported; the next request succeeds."""

import io
from collections.abc import Callable
from inspect import isfunction
from typing import Any

import pytest
import torch

from csm import log
from csm.engine.api import Chunk, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import describe_failure
from csm.engine.runtimes.base import BAD_CODE, Runtime
from csm.errors import CsmError, GenerationFailed, InvalidRequest
from tests.engine.engine_harness import (
    CALLS,
    EngineFactory,
    RecordingRuntime,
    Request,
    SteppedEngine,
    codes,
    collect,
    samples,
)
from tests.polling import wait_until

SHORT = Request("Brief.", frames=3, sampling=Sampling(seed=8))
LONG = Request("A longer one.", speaker=1, frames=14, sampling=Sampling(seed=9))

OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
PASSING = RuntimeError("something odd, in /a/secret/path")
STICKY = [
    "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA",
    "CUDA error: device-side assert triggered",
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
]


def at_call(wanted: int, error: Exception) -> Callable[[int, str], None]:
    def fail(number: int, name: str) -> None:
        if number == wanted:
            raise error

    return fail


def until_idle(engine: CsmEngine) -> None:
    wait_until(lambda: engine.running == 0)


def expected(engines: EngineFactory, request: Request) -> list[Chunk]:
    engine = engines(SteppedEngine)
    generation = request.start(engine)
    engine.run_dry()
    return collect(generation)[0]


def equal(heard: list[Chunk], wanted: list[Chunk]) -> bool:
    return codes(heard).tolist() == codes(wanted).tolist() and bool(abs(samples(heard) - samples(wanted)).max() < 1e-5)


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, PASSING], ids=["out-of-memory", "other"])
def test_an_error_at_any_call_fails_that_request_and_the_next_succeeds(
    engines: EngineFactory, error: Exception
) -> None:
    wanted, broken = expected(engines, SHORT), set[str]()
    for number in range(1, 100):
        runtime = RecordingRuntime(engines.runtime, at_call(number, error))
        engine = engines(runtime=runtime, patience=20)
        try:
            heard = SHORT.run(engine)
        except GenerationFailed as told:
            broken.add(runtime.calls[number - 1][0])
            assert "secret" not in str(told)
            assert ("memory" in str(told)) == (error is OUT_OF_MEMORY)
            until_idle(engine)
            assert engine.failure() is None
            assert equal(SHORT.run(engine), wanted)
            engine.close()
        else:
            assert equal(heard, wanted)
            assert len(runtime.calls) < number
            break
    assert broken == {"encode", "prefill", "save_prefix", "join", "step"}


@pytest.mark.parametrize("text", STICKY)
def test_a_lost_device_at_any_call_is_reported_and_ends_all_requests(engines: EngineFactory, text: str) -> None:
    for number in (1, 2, 3, 4, 5, 7):
        runtime = RecordingRuntime(engines.runtime, at_call(number, RuntimeError(text)))
        engine = engines(runtime=runtime, slots=1, patience=20)
        with pytest.raises(GenerationFailed):
            LONG.run(engine)
        wait_until(engine.failure)
        assert "device is lost" in engine.failure() and "\n" not in engine.failure()
        with pytest.raises(GenerationFailed, match="stopped"):
            SHORT.start(engine)
        engine.close()


@pytest.mark.parametrize("name", ["load_prefix", "prefill", "save_prefix", "join"])
def test_an_error_during_prefill_does_not_affect_running_requests(engines: EngineFactory, name: str) -> None:
    wanted, broken = expected(engines, LONG), [False]

    def fail(_: int, called: str) -> None:
        if broken[0] and called == name:
            broken[0] = False
            raise OUT_OF_MEMORY

    engine = engines(SteppedEngine, RecordingRuntime(engines.runtime, fail))
    if name == "load_prefix":
        SHORT.start(engine)
        engine.run_dry()
    speaking = LONG.start(engine)
    engine.step()
    newcomer = SHORT.start(engine)
    broken[0] = True
    engine.run_dry()
    assert not broken[0]
    chunks, end = collect(newcomer)
    assert not chunks and isinstance(end, GenerationFailed)
    heard, end = collect(speaking)
    assert end is None and equal(heard, wanted)
    assert engine.failure() is None


def test_an_error_during_prefill_is_logged_with_the_id_of_its_request(
    engines: EngineFactory, log_lines: io.StringIO
) -> None:
    def fail(_: int, called: str) -> None:
        if called == "prefill":
            raise OUT_OF_MEMORY

    engine = engines(SteppedEngine, RecordingRuntime(engines.runtime, fail))
    token = log.request_id.set("r-1")
    SHORT.start(engine)
    log.request_id.reset(token)
    engine.run_dry()
    assert "a prompt could not be prefilled id=r-1" in log_lines.getvalue()


def test_an_error_in_a_frame_fails_the_running_requests_and_waiting_ones_go_on(engines: EngineFactory) -> None:
    wanted, broken = expected(engines, SHORT), [True]

    def fail(_: int, name: str) -> None:
        if broken[0] and name == "step":
            broken[0] = False
            raise OUT_OF_MEMORY

    engine = engines(runtime=RecordingRuntime(engines.runtime, fail), slots=1, patience=20)
    speaking, waiting = LONG.start(engine), SHORT.start(engine)
    with pytest.raises(GenerationFailed, match="memory"):
        list(speaking)
    assert equal(list(waiting), wanted)


def test_a_nan_ends_its_own_request_only(engines: EngineFactory) -> None:
    wanted = [expected(engines, request) for request in (LONG, SHORT)]
    engine = engines(SteppedEngine)
    good, bad = LONG.start(engine), LONG.start(engine)
    while engine.running < 2 or engine._scheduler._prefill:
        engine.step()
    engines.runtime.state.x[1] = float("nan")
    engine.step()
    # The longer row keeps the cells of the failed one within the length of the batch.
    after = SHORT.start(engine)
    engine.run_dry()
    assert isinstance(collect(bad)[1], GenerationFailed)
    for generation, chunks in zip((good, after), wanted, strict=True):
        heard, end = collect(generation)
        assert end is None and equal(heard, chunks)


def test_a_shorter_request_after_a_failed_one_does_not_see_its_cells(engines: EngineFactory) -> None:
    wanted = expected(engines, SHORT)
    engine = engines(SteppedEngine, slots=2)
    long = Request("A very long text indeed, much longer than all the others.", frames=40)
    good, bad = long.start(engine), long.start(engine)
    while engine.running < 2 or engine._scheduler._prefill:
        engine.step()
    engines.runtime.state.x[1] = float("nan")
    engine.step()
    after = SHORT.start(engine)
    engine.run_dry()
    heard, end = collect(after)
    assert end is None and equal(heard, wanted)
    assert collect(good)[1] is None and isinstance(collect(bad)[1], GenerationFailed)


class BadCodeRuntime(RecordingRuntime):
    """A runtime whose first row gets an impossible code in its second frame.

    Args:
        runtime: the real one.
        code: the impossible code.
    """

    def __init__(self, runtime: Any, code: int) -> None:
        super().__init__(runtime)
        self._code = code

    def step(self, rows: int, length: int, top_k: int) -> torch.Tensor:
        made = self._runtime.step(rows, length, top_k).clone()
        self.calls.append(("step", ()))
        if self.count("step") == 2:
            made[0, -1] = self._code
            if self._code == BAD_CODE:
                made[0] = BAD_CODE
        return made


@pytest.mark.parametrize("code", [BAD_CODE, 64, 2050, 10**9, -7])
def test_an_impossible_code_ends_its_own_request_only(engines: EngineFactory, code: int) -> None:
    wanted = expected(engines, LONG)
    engine = engines(SteppedEngine, BadCodeRuntime(engines.runtime, code))
    # Both are of one voice: the second joins before the first frame is made.
    bad, good = Request("A.", frames=9).start(engine), LONG.start(engine)
    engine.run_dry()
    assert isinstance(collect(bad)[1], GenerationFailed)
    heard, end = collect(good)
    assert end is None and equal(heard, wanted)
    assert engine.failure() is None


class FailingDecoder:
    """Mimi's decoder, but failing while `broken` is true."""

    def __init__(self, decoder: Any, error: Exception) -> None:
        self._decoder, self._error, self.broken = decoder, error, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def __call__(self, *arguments: Any) -> Any:
        if self.broken:
            raise self._error
        return self._decoder(*arguments)


class WithDecoder(RecordingRuntime):
    def __init__(self, runtime: Any, decoder: Any) -> None:
        super().__init__(runtime)
        self.decoder = decoder


def test_a_codec_that_runs_out_of_memory_fails_the_request_and_the_next_succeeds(engines: EngineFactory) -> None:
    decoder = FailingDecoder(engines.runtime.decoder, OUT_OF_MEMORY)
    engine = engines(runtime=WithDecoder(engines.runtime, decoder), patience=20)
    with pytest.raises(GenerationFailed, match="memory"):
        LONG.run(engine)
    decoder.broken = False
    wait_until(lambda: engine.running == 0)
    assert engine.failure() is None
    assert equal(SHORT.run(engine), expected(engines, SHORT))


def test_a_device_lost_in_the_codec_is_reported(engines: EngineFactory) -> None:
    engine = engines(
        runtime=WithDecoder(engines.runtime, FailingDecoder(engines.runtime.decoder, RuntimeError(STICKY[0])))
    )
    with pytest.raises(GenerationFailed):
        LONG.run(engine)
    assert "device is lost" in engine.failure()
    with pytest.raises(GenerationFailed, match="stopped"):
        SHORT.start(engine)


@pytest.mark.parametrize(
    ("error", "fatal", "told"),
    [
        (RuntimeError(STICKY[0]), True, "server's log"),
        (RuntimeError("an illegal memory access of some other kind"), False, "server's log"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), False, "CSM_SLOTS"),
        (ValueError("odd"), False, "server's log"),
        (InvalidRequest("as it is"), False, "as it is"),
    ],
)
def test_errors_that_end_one_generation_differ_from_those_that_end_the_engine(
    error: Exception, fatal: bool, told: str
) -> None:
    reason, shown = describe_failure(error)
    assert (reason is not None) == fatal
    assert isinstance(shown, CsmError) and told in str(shown)
    assert shown is error or shown.__cause__ is error


def test_the_recording_runtime_records_every_method() -> None:
    asked = {name for name, part in vars(Runtime).items() if isfunction(part) and not name.startswith("_")}
    assert asked == set(CALLS)
