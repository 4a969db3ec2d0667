"""Checkpoints, runtimes and engines for the stages, on the device that was asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.full_size import full_size_config, random_checkpoint, tiny_config
from csm.engine.api import EngineInfo
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import Placement
from csm.engine.runtimes.cuda import CudaRuntime, Graph
from csm.engine.transformers_engine import TransformersEngine
from csm.model.checkpoint import Checkpoint

VOICE_CACHE_BYTES = 256_000_000


def padded_frame(frame: Callable[[], Tensor]) -> Graph:
    """Stand in for a capture on a CPU: replaying makes the frame in the size that was captured, as a graph would."""
    codes = frame().clone()
    return Graph(lambda: codes.copy_(frame()), codes)


@dataclass(frozen=True)
class Models:
    """Makes checkpoints, runtimes and engines on one device.

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
        """Return a checkpoint of random weights, which are made on the device when they are loaded."""
        return random_checkpoint(tiny_config() if self.is_tiny else full_size_config())

    def runtime(self, checkpoint: Checkpoint, precision: str, rows: int) -> CudaRuntime:
        """Build the runtime that serves GPUs; a dry run on a CPU goes the same way, but for the capture itself."""
        capture = None if self.device.type == "cuda" else padded_frame
        return CudaRuntime(checkpoint, Placement(self.device, precision), rows, capture)

    def engine(self, checkpoint: Checkpoint, runtime: CudaRuntime, precision: str, rows: int) -> CsmEngine:
        """Build our engine around a runtime."""
        codec = checkpoint.config.codec_config
        info = EngineInfo("csm", str(self.device), precision, rows, codec.sampling_rate, codec.frame_rate)
        return CsmEngine(runtime, info, checkpoint.tokenizer, VOICE_CACHE_BYTES)

    def reference(self, checkpoint: Checkpoint, precision: str) -> TransformersEngine:
        """Build `transformers.generate` on weights of its own."""
        return TransformersEngine(checkpoint, Placement(self.device, precision))
