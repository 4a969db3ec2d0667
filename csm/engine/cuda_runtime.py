"""The runtime for CUDA: the whole frame, backbone step, draws and 31 depth steps, replayed as one graph.

A frame is some thousands of small kernels; launched one by one they cost more time than they compute. Graphs are
captured at start-up, one per size of batch and length, because a capture during service would stall every stream.
"""

import logging
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from csm.engine.devices import Placement, side_stream
from csm.engine.runtime import TorchRuntime
from csm.model.checkpoint import Checkpoint

log = logging.getLogger(__name__)

LENGTHS = (512, 1024, 2048)
"""Positions that a graph attends to; a graph reads all of them, needed or not."""

WARM_UPS = 3
"""Eager frames before a capture, so that libraries have chosen their kernels and workspaces."""


class CudaRuntime(TorchRuntime):
    """See `Runtime`; captures in its constructor.

    Args:
        checkpoint: to load.
        placement: a CUDA device and its precision.
        rows: of the batch.
    """

    def __init__(self, checkpoint: Checkpoint, placement: Placement, rows: int) -> None:
        super().__init__(checkpoint, placement, rows)
        self._rows = _powers_of_two(rows)
        self._lengths = [length for length in LENGTHS if length < self.positions] + [self.positions]
        # Wider draws need a wider sort; nearly all requests keep to the default of 50.
        self._top_ks = [min(64, self.depth.codebook_size), self.depth.codebook_size]
        self._graphs: dict[tuple[int, int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        pool = torch.cuda.graph_pool_handle()
        # From the largest to the smallest: each then fits into the memory pool of the one before.
        for key in sorted(product(self._rows, self._lengths, self._top_ks), reverse=True):
            self._graphs[key] = self._capture(key, pool)
        log.info("captured %d CUDA graphs", len(self._graphs))

    def frame(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `TorchRuntime.frame`: replays the smallest graph that is large enough."""
        key = _cover(self._rows, rows), _cover(self._lengths, length), _cover(self._top_ks, top_k)
        graph, codes = self._graphs[key]
        graph.replay()
        return codes[:rows]

    def _capture(self, key: tuple[int, int, int], pool: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        side = side_stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                super().frame(*key)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Thread-local: the codec's thread may work on the device at the same time.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            codes = super().frame(*key)
        return graph, codes


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... and `most` itself."""
    return [1 << i for i in range((most - 1).bit_length())] + [most]


def _cover(sizes: Sequence[int], needed: int) -> int:
    """The least of ascending `sizes` that is at least `needed`."""
    return sizes[bisect_left(sizes, needed)]
