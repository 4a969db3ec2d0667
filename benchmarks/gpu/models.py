"""What a stage runs: a checkpoint, runtimes and engines on the device that was asked for."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.full_size import full_size_config, random_checkpoint, tiny_config
from csm.engine.api import EngineInfo
from csm.engine.cuda_runtime import CudaRuntime
from csm.engine.devices import Placement
from csm.engine.reference import ReferenceEngine
from csm.engine.runtime import TorchRuntime
from csm.engine.slots import CsmEngine
from csm.model.checkpoint import Checkpoint

VOICE_CACHE_BYTES = 256_000_000


class PaddedRuntime(TorchRuntime):
    """What `CudaRuntime` does with sizes, without graphs: the dry run on a CPU goes the same way as a run on a GPU.

    Args:
        checkpoint: to load.
        placement: device and precision.
        rows: of the batch.

    Attributes:
        graphs: the sizes that frames are padded to.
        notice: why there are fewer graphs than there could be; None here.
    """

    def __init__(self, checkpoint: Checkpoint, placement: Placement, rows: int) -> None:
        super().__init__(checkpoint, placement, rows)
        codes = self.depth.codebook_size
        self._sizes = (
            [size for size in (1, 4, 16) if size < rows] + [rows],
            [512, 2048],
            sorted({min(64, codes), codes}),
        )
        self.graphs: dict[tuple[int, ...], None] = dict.fromkeys(product(*self._sizes))
        self.notice: str | None = None

    def frame(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `TorchRuntime.frame`."""
        needed = (rows, length, top_k)
        size = [sizes[bisect_left(sizes, least)] for sizes, least in zip(self._sizes, needed, strict=True)]
        return super().frame(*size)[:rows]


@dataclass(frozen=True)
class Models:
    """Makes what a stage asks for.

    Attributes:
        device: of torch.
        is_tiny: whether the model is so small that a CPU runs it in no time.
    """

    device: torch.device
    is_tiny: bool

    @property
    def precision(self) -> str:
        """What the device is served in."""
        if self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) < (8, 0):
            return "float16"
        return "bfloat16"

    def checkpoint(self) -> Checkpoint:
        """Random weights, made on the device when they are loaded."""
        return random_checkpoint(tiny_config() if self.is_tiny else full_size_config())

    def runtime(self, checkpoint: Checkpoint, precision: str, rows: int) -> Any:
        """Build the runtime that serves this device."""
        kind = CudaRuntime if self.device.type == "cuda" else PaddedRuntime
        return kind(checkpoint, Placement(self.device, precision), rows)

    def engine(self, checkpoint: Checkpoint, runtime: Any, precision: str, rows: int) -> CsmEngine:
        """Build our engine around a runtime."""
        codec = checkpoint.config.codec_config
        info = EngineInfo("csm", str(self.device), precision, rows, codec.sampling_rate, codec.frame_rate)
        return CsmEngine(runtime, info, checkpoint.tokenizer, VOICE_CACHE_BYTES)

    def reference(self, checkpoint: Checkpoint, precision: str) -> ReferenceEngine:
        """Build `transformers.generate` on weights of its own."""
        return ReferenceEngine(checkpoint, Placement(self.device, precision))
