"""Check correctness on the device: compare captured graphs with eager frames."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.device import relative_error
from csm.engine.api import Sampling
from csm.engine.runtimes.cuda import CudaRuntime, Key
from csm.engine.runtimes.torch import TorchRuntime


class Bench:
    """A runtime whose rows can be reset, to compare two ways of generating the same frame.

    Args:
        runtime: with or without graphs.
        length: of the longest row, including the frame to generate.
    """

    def __init__(self, runtime: CudaRuntime, length: int) -> None:
        self.runtime, self._length = runtime, length
        codes = np.random.default_rng(length).integers(0, runtime.depth.codebook_size, (length, runtime.codebooks))
        self._x = runtime.embeddings.embed_frames(torch.from_numpy(codes).to(runtime.device))
        for start in range(0, length - 1, runtime.prefill_chunk):
            runtime.prefill(self._x[start : min(start + runtime.prefill_chunk, length - 1)], start)

    def seat(self, rows: int, top_k: int) -> None:
        """Start each row after a prompt, each with a different length and seed."""
        for row in range(rows):
            end = max(self._length - 1 - 3 * row, 1)
            self.runtime.join(row, end, self._x[end], Sampling(seed=row, temperature=0.9, top_k=top_k))

    def frame(self, make: Callable[..., Tensor], rows: int, top_k: int) -> tuple[Tensor, Tensor]:
        """Generate a frame; return codes `[rows, codebooks]`, and new keys and values of each row, `[rows, ...]`."""
        positions = self.runtime.state.position[:rows].clone()
        codes = make(rows, self._length, top_k).clone()
        index = torch.arange(rows, device=positions.device)
        return codes, self.runtime.kv_cache.store[:, :, index, positions].movedim(2, 0).clone()

    def eager(self, rows: int, length: int, top_k: int) -> Tensor:
        """Generate a frame without graphs."""
        return self.runtime.eager(rows, length, top_k)

    def plain(self, rows: int, length: int, top_k: int) -> Tensor:
        """Generate a frame without graphs and without fused kernels."""
        return TorchRuntime.frame(self.runtime, rows, length, top_k)


def graphs(runtime: CudaRuntime) -> Iterator[dict[str, Any]]:
    """Compare every graph with an eager frame of the same size and from the same state; yield each result.

    In bfloat16, rounding can flip a code, after which all codes differ. So each graph generates only one frame from the
    state before the eager frame, and the keys and values that both wrote are compared numerically.
    """
    keys: list[Key] = sorted(runtime.graphs)
    for length in sorted({length for _, length, _ in keys}):
        bench = Bench(runtime, length)
        for rows, _, top_k in (key for key in keys if key[1] == length):
            bench.seat(rows, top_k)
            ours, written = bench.frame(runtime.frame, rows, top_k)
            bench.seat(rows, top_k)
            theirs, expected = bench.frame(bench.eager, rows, top_k)
            yield {"graph": [rows, length, top_k]} | agreement(ours, theirs, written, expected)


def agreement(ours: Tensor, theirs: Tensor, written: Tensor, expected: Tensor) -> dict[str, Any]:
    """Return the share of equal codes and of equal first codes, and the relative error of the written tensors."""
    return {
        "codes": float((ours == theirs).double().mean()),
        "first_codes": float((ours[:, 0] == theirs[:, 0]).double().mean()),
        "error": relative_error(written, expected),
    }


def padded(runtime: CudaRuntime, length: int) -> Iterator[tuple[str, Any]]:
    """Run three streams in a graph of four rows, with leftovers of earlier streams in the fourth.

    Yields:
        A name, and how the three rows compare with an eager frame, or with the frame without leftovers.
    """
    bench, wide = Bench(runtime, length), runtime.depth.codebook_size
    bench.seat(3, 50)
    expected = bench.frame(bench.eager, 3, 50)
    bench.seat(4, 50)
    ours = bench.frame(runtime.frame, 3, 50)
    yield "ordinary", agreement(ours[0], expected[0], ours[1], expected[1])
    for name, leave in (("not_a_number", _leave_nan), ("stale_top_k", lambda r: r.state.top_k[3:].fill_(wide))):
        bench.seat(4, 50)
        leave(runtime)
        beside = bench.frame(runtime.frame, 3, 50)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
        untouched = bool((beside[0] == ours[0]).all()) and bool((beside[1] == ours[1]).all())
        yield name, {"neighbours_untouched": untouched}
        runtime.kv_cache.clear(3)


def _leave_nan(runtime: CudaRuntime) -> None:
    runtime.state.x[3:] = torch.nan
