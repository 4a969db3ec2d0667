"""The CUDA runtime's own work on a CPU: which graph runs, what padding does, and a start that serves whatever fails.

Only the capture is replaced: what it returns runs the eager frame in the size that was captured, as a graph would.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from csm.engine.api import Sampling
from csm.engine.devices import Placement
from csm.engine.runtimes import cuda
from csm.engine.runtimes.cuda import Capture, CudaRuntime, Graph, cuda_graphs, leading_agreement
from csm.engine.runtimes.torch import TorchRuntime
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint
from tests.engine.engine_harness import CPU, EngineFactory, Request, SteppedEngine, codes, collect

ROWS = 4
NARROW = 8
"""Stands for `COMMON_TOP_K`, which these tiny codebooks do not exceed."""


def graph(frame: Callable[[], Tensor]) -> Graph:
    """Run the eager frame where a device would replay it."""
    static = frame().clone()

    def replay() -> None:
        static.copy_(frame())

    return Graph(replay, static)


@dataclass
class Capturing:
    """Captures of which some fail.

    Attributes:
        fails: given the number of a capture from 1, what it raises, or None.
        count: captures tried so far.
    """

    fails: Callable[[int], Exception | None] = lambda number: None
    count: int = field(default=0)

    def __call__(self, frame: Callable[[], Tensor]) -> Graph:
        self.count += 1
        if (error := self.fails(self.count)) is not None:
            raise error
        return graph(frame)


@pytest.fixture
def make(micro: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CudaRuntime]:
    monkeypatch.setattr(cuda, "COMMON_TOP_K", NARROW)
    return lambda capture=graph, rows=ROWS: CudaRuntime(micro, CPU, rows, capture)


@pytest.fixture
def padded(make: Callable[..., CudaRuntime]) -> CudaRuntime:
    return make()


def said_by(engines: EngineFactory, runtime: TorchRuntime, requests: list[Request]) -> list[list[list[int]]]:
    """Let all speak at once."""
    engine = engines(SteppedEngine, runtime)
    speaking = [request.start(engine) for request in requests]
    engine.run_dry()
    answers = [collect(generation) for generation in speaking]
    assert [end for _, end in answers] == [None] * len(requests)
    return [codes(chunks).tolist() for chunks, _ in answers]


CROWD = [
    Request("One.", frames=12, sampling=Sampling(1, top_k=5)),
    Request("Two.", 1, frames=14, sampling=Sampling(2, top_k=5)),
    Request("Three.", 2, frames=11, sampling=Sampling(3, top_k=5)),
    Request("Four, with a wide draw.", frames=2, sampling=Sampling(4, top_k=60)),
]


def test_a_graph_for_each_size_of_batch_and_length_and_draw(padded: CudaRuntime) -> None:
    assert {rows for rows, _, _ in padded.graphs} == {1, 2, 4}
    assert {length for _, length, _ in padded.graphs} == {padded.positions}
    assert {top_k for _, _, top_k in padded.graphs} == {NARROW, padded.depth.codebook_size}
    assert padded.notice is None


def test_a_wide_draw_that_is_over_does_not_disturb_the_narrow_ones_that_go_on(
    engines: EngineFactory, runtime: TorchRuntime, padded: CudaRuntime
) -> None:
    assert said_by(engines, padded, CROWD) == said_by(engines, runtime, CROWD)
    assert padded.state.top_k.tolist()[-1] == 60, "the row that fills up the batch of four is not stale"


def test_a_row_that_went_wrong_while_it_filled_up_a_batch_serves_the_next_request(
    engines: EngineFactory, runtime: TorchRuntime, padded: CudaRuntime
) -> None:
    wanted = said_by(engines, runtime, CROWD)
    padded.kv_cache.store.fill_(torch.nan)
    padded.state.x.fill_(torch.nan)
    assert said_by(engines, padded, CROWD) == wanted


def test_the_smallest_graph_that_is_large_enough_is_replayed(padded: CudaRuntime) -> None:
    replayed = []
    for key, made in list(padded.graphs.items()):
        padded.graphs[key] = Graph(lambda key=key: replayed.append(key), made.codes)  # type: ignore[misc]
    assert padded.frame(3, 20, NARROW + 1).shape[0] == 3
    padded.frame(1, 20, NARROW)
    del padded.graphs[1, padded.positions, NARROW]
    padded.frame(1, 20, NARROW)
    wide = padded.depth.codebook_size
    assert replayed == [
        (4, padded.positions, wide),
        (1, padded.positions, NARROW),
        (1, padded.positions, wide),
    ]


def out_of_memory(number: int) -> Exception | None:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB") if number <= 1 else None


def refuses_to_capture(number: int) -> Exception | None:
    return RuntimeError("CUDA error: operation not permitted when stream is capturing\nMore of it.")


def empty(frame: Callable[[], Tensor]) -> Graph:
    """A capture that recorded nothing: the same frame for ever."""
    return Graph(lambda: None, frame().clone())


def other_frames(frame: Callable[[], Tensor]) -> Graph:
    static = frame().clone()

    def replay() -> None:
        static.copy_((frame() + 1) % 64)

    return Graph(replay, static)


@pytest.mark.parametrize(
    ("capture", "left", "words"),
    [
        (Capturing(out_of_memory), 4, "out of memory"),
        (Capturing(refuses_to_capture), 0, "not permitted"),
        (empty, 0, "other codes"),
        (other_frames, 0, "other codes"),
    ],
    ids=["out-of-memory", "refused", "empty", "wrong"],
)
def test_captures_that_fail_leave_a_runtime_that_serves_and_says_so(
    capture: Capture,
    left: int,
    words: str,
    engines: EngineFactory,
    runtime: TorchRuntime,
    make: Callable[..., CudaRuntime],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lame = make(capture)
    assert len(lame.graphs) == left
    assert lame.notice is not None and f"{left} of 6" in lame.notice and "CSM_SLOTS" in lame.notice
    assert words in lame.notice and "\n" not in lame.notice
    assert words in caplog.text
    assert said_by(engines, lame, CROWD) == said_by(engines, runtime, CROWD)


def test_after_three_failures_no_further_capture_is_tried(make: Callable[..., CudaRuntime]) -> None:
    capture = Capturing(refuses_to_capture)
    make(capture)
    assert capture.count == 3


def test_a_device_that_is_lost_while_capturing_ends_the_start(make: Callable[..., CudaRuntime]) -> None:
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(ModelUnavailable, match=r"illegal memory access.*restart"):
        make(Capturing(lambda number: lost))


def test_the_check_of_the_graphs_does_not_change_later_audio(
    engines: EngineFactory, runtime: TorchRuntime, padded: CudaRuntime
) -> None:
    assert not padded.kv_cache.store.any()


@pytest.mark.parametrize(
    ("changed", "share"), [([], 1.0), ([(0, 0)], 0.5), ([(0, 2), (1, 3)], (0.5 + 0.75) / 2), ([(0, 0), (1, 0)], 0.0)]
)
def test_agreement_counts_the_codes_before_the_first_difference(changed: list[tuple[int, int]], share: float) -> None:
    expected = torch.arange(8).view(2, 4)
    given = expected.clone()
    for place in changed:
        given[place] += 1
    assert leading_agreement(expected, given) == share


@pytest.mark.parametrize(("rows_free", "rows"), [(5, 5), (1000, 16), (0, 1), (-50, 1)])
def test_slots_are_as_many_as_the_free_memory_holds(
    rows_free: int, rows: int, micro: Checkpoint, runtime: TorchRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = cuda.RESERVED_BYTES + rows_free * runtime.row_bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    made = CudaRuntime(micro, CPU, None, graph)
    assert made.rows == rows and made.kv_cache.store.shape[2] == rows


def test_weights_that_do_not_fit_are_reported_with_the_remedy(
    micro: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 8 GiB.")

    monkeypatch.setattr(Checkpoint, "load", load)
    with pytest.raises(ModelUnavailable, match=r"(?s)Tried to|out of memory.*CSM_SLOTS"):
        CudaRuntime(micro, CPU, 4, graph)


class Driver:
    """CUDA's rule for captures: work is recorded if its device is the current one, otherwise it is not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current, self.recorded, self.capturing = torch.device("cuda:0"), list[str](), False
        for name, replacement in {
            "device": self._device,
            "stream": lambda stream: self._device(stream.device),
            "graph": self._graph,
            "current_stream": lambda: self,
            "graph_pool_handle": lambda: None,
            "CUDAGraph": lambda: self,
        }.items():
            monkeypatch.setattr(torch.cuda, name, replacement)
        monkeypatch.setattr(cuda, "side_stream", self._stream)

    def launch(self, device: torch.device) -> Tensor:
        if self.capturing and device == self.current:
            self.recorded.append("kernel")
        return torch.zeros(1, 4)

    def replay(self) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        pass

    @contextmanager
    def _device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device
        yield
        self.current = before

    @contextmanager
    def _graph(self, graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert stream.device == self.current
        self.capturing = True
        yield
        self.capturing = False

    def _stream(self, device: torch.device) -> Any:
        return type("Stream", (), {"device": device, "wait_stream": lambda *_: None})()


def test_a_capture_uses_the_device_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, device = Driver(monkeypatch), torch.device("cuda:1")
    cuda_graphs(device)(lambda: driver.launch(device))
    assert driver.recorded == ["kernel"]
    assert driver.current == torch.device("cuda:0")


def test_attention_does_not_use_cudnn_and_the_codec_does_not_use_tf32(padded: CudaRuntime) -> None:
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert not torch.backends.cudnn.allow_tf32


def test_prompts_are_prefilled_whole_in_an_idle_engine(engines: EngineFactory, padded: CudaRuntime) -> None:
    assert padded.idle_prefill_chunk == padded.positions
    assert padded.prefill_chunk > TorchRuntime.prefill_chunk
    assert Placement(torch.device("cuda"), "bfloat16").dtype == torch.bfloat16
