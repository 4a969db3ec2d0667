"""The runtime for CUDA: a whole frame, from the backbone to the last of 31 depth steps, is one CUDA graph.

A frame is some thousands of small kernels, which take longer to launch one by one than to run. Graphs are captured at
start-up, one for each size of batch and length, because a capture during service would stall every stream. Each is
compared with the eager frame before it is used. If a graph is missing, the next larger one is used, and if there is
none, the eager frame.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from csm.engine.api import Sampling
from csm.engine.devices import Placement, configure_cuda, is_fatal, side_stream
from csm.engine.runtimes.torch import TorchRuntime
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint
from csm.model.operations import PLAIN, Operations

log = logging.getLogger(__name__)

LENGTHS = (512, 1024, 2048)
"""Positions that a graph attends to: all of them, needed or not."""

COMMON_TOP_K = 64
"""Top-k of the narrower graphs: a larger one needs a larger sort, and nearly all requests use the default of 50."""

WARM_UPS = 2
"""Eager frames before a capture, for libraries to choose kernels and to allocate workspaces."""

MAX_FAILURES = 3
"""Failed captures, other than for lack of memory, after which no further one is tried."""

MAX_ERROR = 0.05
"""Difference of logits, relative to their norm, up to which fused kernels are used: more than rounding makes, and less
than a wrong kernel, which makes about 1."""

MAX_ROWS = 16
"""Default of the streams at once. Each takes 67 MB for its keys and values at CSM-1B's size."""

RESERVED_BYTES = 3_000_000_000
"""Memory that the default number of rows leaves for graphs (about 10 kB a kernel, 0.7 GB in all), cuBLAS workspaces,
the codec's activations, and cached voices."""

Key = tuple[int, int, int]
"""Rows, length and top-k that a graph is captured for."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A captured frame.

    Attributes:
        replay: run it on the current stream.
        codes: `[rows, codebooks]`, overwritten by each replay.
    """

    replay: Callable[[], None]
    codes: Tensor


Capture = Callable[[Callable[[], Tensor]], Graph]
"""A function that makes a graph of the eager frame."""


class CudaRuntime(TorchRuntime):
    """See `Runtime`. The constructor captures all graphs.

    Args:
        checkpoint: to load.
        placement: a CUDA device and its precision.
        rows: size of the batch; None for what the free memory allows, at most `MAX_ROWS`.
        capture: makes a graph; None for `cuda_graphs`.

    Attributes:
        graphs: by what they were captured for.
        operations: fused kernels, or PyTorch's.

    Raises:
        ModelUnavailable: the device has too little memory for the model or so many rows, or it failed.
    """

    prefill_chunk = 512
    """Up to this width a chunk takes the time of its 270 launches, however narrow it is."""

    def __init__(
        self, checkpoint: Checkpoint, placement: Placement, rows: int | None, capture: Capture | None = None
    ) -> None:
        configure_cuda()
        try:
            super().__init__(checkpoint, placement, rows)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelUnavailable(
                f"{placement.device} has too little free memory ({str(error).partition('. ')[0]}): lower CSM_SLOTS, "
                "end what else uses it (nvidia-smi), or set CSM_PRECISION=bfloat16"
            ) from error
        self.idle_prefill_chunk = self.positions
        self.operations = self._fastest_operations()
        self.graphs: dict[Key, Graph] = {}
        self._capture_all(capture or cuda_graphs(placement.device))

    def frame(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `TorchRuntime.frame`: replays the smallest graph that is large enough."""
        large_enough = (key for key in self.graphs if key[0] >= rows and key[1] >= length and key[2] >= top_k)
        key = min(large_enough, default=None)
        if key is None:
            return self.eager(rows, length, top_k)
        graph = self.graphs[key]
        graph.replay()
        return graph.codes[:rows]

    def default_rows(self) -> int:
        """Return how many rows fit into the memory that is free once the weights are loaded."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(1, min(MAX_ROWS, (free - RESERVED_BYTES) // self.row_bytes))

    def _fastest_operations(self) -> Operations:
        """Return fused kernels, or PyTorch's if Triton cannot build them here, or if they compute something else."""
        if self.device.type != "cuda":
            return PLAIN
        try:
            # Not at the top: Triton comes with torch's CUDA builds for Linux only.
            from csm.model.fused import FusedOperations

            fused = FusedOperations()
            self._compare(fused)
        except Exception as error:
            if is_fatal(error):
                raise self._lost(error) from error
            log.warning("frames are made of PyTorch's kernels, which takes longer: %s: %s", type(error).__name__, error)
            return PLAIN
        return fused

    def _lost(self, error: Exception) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self.device} failed and cannot be used by this process any more ({str(error).partition(chr(10))[0]}): "
            "restart the server; if it happens again, look for Xid errors in the kernel's log"
        )

    @torch.inference_mode()
    def _compare(self, operations: Operations) -> None:
        """Compare the logits of random frames, and draws from them, with PyTorch's.

        Raises:
            RuntimeError: they differ by more than rounding.
        """
        generator = torch.Generator(self.device).manual_seed(0)
        hidden = torch.empty_like(self.state.x).normal_(generator=generator)
        codes = torch.randint(
            self.depth.codebook_size, (self.rows, self.codebooks), generator=generator, device=self.device
        )
        expected = self.depth.score(hidden, codes).float()
        with self._using(operations):
            given = self.depth.score(hidden, codes).float()
        error = float((given - expected).norm() / expected.norm())
        if not error < MAX_ERROR:
            raise RuntimeError(f"logits differ from PyTorch's by {error:.1%}")
        logits, rank = expected[:, 0], torch.full((self.rows, 1), COMMON_TOP_K - 1, device=self.device)
        noise = torch.empty_like(logits).normal_(generator=generator)
        arguments = (logits, noise, rank.clamp(max=logits.shape[-1] - 1), logits.shape[-1])
        if not torch.equal(operations.draw(*arguments), PLAIN.draw(*arguments)):
            raise RuntimeError("draws differ from PyTorch's")

    @contextmanager
    def _using(self, operations: Operations) -> Iterator[None]:
        """Make frames with other operations than PyTorch's."""
        stacks = (self.backbone.transformer, self.depth.transformer)
        try:
            for stack in stacks:
                stack.operations = operations
            yield
        finally:
            for stack in stacks:
                stack.operations = PLAIN

    def eager(self, rows: int, length: int, top_k: int) -> Tensor:
        """Make a frame without graphs, with the operations that graphs have."""
        with self._using(self.operations):
            return TorchRuntime.frame(self, rows, length, top_k)

    def _capture_all(self, capture: Capture) -> None:
        """Capture all graphs; if some cannot be captured, set `notice`."""
        lengths = [length for length in LENGTHS if length < self.positions] + [self.positions]
        top_ks = {min(COMMON_TOP_K, self.depth.codebook_size), self.depth.codebook_size}
        # Largest first: each graph then fits into the memory pool of the one before.
        keys = sorted(product(_powers_of_two(self.rows), lengths, top_ks), reverse=True)
        failures: list[str] = []
        too_many_rows, refused = self.rows + 1, 0
        for key in keys:
            if refused == MAX_FAILURES or key[0] >= too_many_rows:
                continue
            try:
                self.graphs[key] = self._capture(key, capture)
            except Exception as error:
                if is_fatal(error):
                    raise self._lost(error) from error
                if isinstance(error, torch.cuda.OutOfMemoryError):
                    # Fewer rows may fit; the other graphs for as many will not.
                    too_many_rows = key[0]
                else:
                    refused += 1
                failures.append(f"{key[0]} rows of {key[1]} positions: {str(error).partition(chr(10))[0]}")
                log.warning("no CUDA graph for %s", failures[-1])
        self.kv_cache.store.zero_()
        log.info("captured %d CUDA graphs", len(self.graphs))
        if failures:
            self.notice = (
                f"{len(self.graphs)} of {len(keys)} CUDA graphs could be captured; without one, a frame takes several "
                f"times as long ({failures[0]}): lower CSM_SLOTS to save memory, or update driver and torch"
            )

    def _capture(self, key: Key, capture: Capture) -> Graph:
        graph = capture(partial(self.eager, *key))
        for seed in (1, 2):
            self._probe(key, seed)
            expected = self.eager(*key).cpu()
            self._probe(key, seed)
            graph.replay()
            if (share := leading_agreement(expected, graph.codes.cpu())) < 0.25:
                raise RuntimeError(f"a replay gives other codes than the eager frame ({share:.0%} agree)")
        return graph

    def _probe(self, key: Key, seed: int) -> None:
        """Fill all rows with noise, each at a position of its own."""
        rows, length, top_k = key
        generator = torch.Generator(self.device).manual_seed(seed)
        self.kv_cache.store.normal_(generator=generator)
        self.state.x.normal_(generator=generator)
        for row in range(rows):
            position = (row + 1) * length // (rows + 1)
            self.state.set(row, position, self.state.x[row].clone(), Sampling(seed + row, top_k=top_k))


def cuda_graphs(device: torch.device) -> Capture:
    """Return a function that captures graphs on a device, all in one memory pool."""
    pool, stream = torch.cuda.graph_pool_handle(), side_stream(device)

    def capture(frame: Callable[[], Tensor]) -> Graph:
        # A capture records the current device only: of the kernels of another it would record none.
        with torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    frame()
            torch.cuda.current_stream().wait_stream(stream)
            graph: Any = torch.cuda.CUDAGraph()
            # Thread-local: other threads may use the device at the same time.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                codes = frame()
        return Graph(graph.replay, codes)

    return capture


def leading_agreement(expected: Tensor, given: Tensor) -> float:
    """Return the share of the codes of a frame `[rows, codebooks]` before the first that differs, averaged over rows.

    Rounding can flip a code where two are about equally likely, and with it all that follow. A wrong frame does not
    even begin with the same codes.
    """
    return float((expected == given).int().cumprod(dim=1).float().mean())


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, … and `limit` itself."""
    return [1 << i for i in range((limit - 1).bit_length())] + [limit]
