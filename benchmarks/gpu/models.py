"""Create checkpoints, runtimes and engines for the stages, on the selected device."""

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
    """Replace the capture of a graph on a CPU: replaying computes the frame in the captured size, as a graph does."""
    codes = frame().clone()
    return Graph(lambda: codes.copy_(frame()), codes)


@dataclass(frozen=True)
class Models:
    """Create checkpoints, runtimes and engines on one device.

    Attributes:
        device: of torch.
        is_tiny: whether to use a model that is small enough to be fast on a CPU.
    """

    device: torch.device
    is_tiny: bool

    @property
    def precision(self) -> str:
        """The precision for serving on the device."""
        if self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) < (8, 0):
            return "float16"
        return "bfloat16"

    def checkpoint(self) -> Checkpoint:
        """Return a checkpoint with random weights, which are drawn on the device when it is loaded."""
        return random_checkpoint(tiny_config() if self.is_tiny else full_size_config())

    def runtime(self, checkpoint: Checkpoint, precision: str, rows: int) -> CudaRuntime:
        """Build the runtime for GPUs; a dry run on a CPU uses it too, except for the capture of graphs."""
        capture = None if self.device.type == "cuda" else padded_frame
        return CudaRuntime(checkpoint, Placement(self.device, precision), rows, capture)

    def engine(self, checkpoint: Checkpoint, runtime: CudaRuntime, precision: str, rows: int) -> CsmEngine:
        """Build the csm engine on a runtime."""
        codec = checkpoint.config.codec_config
        info = EngineInfo("csm", str(self.device), precision, rows, codec.sampling_rate, codec.frame_rate)
        return CsmEngine(runtime, info, checkpoint.tokenizer, VOICE_CACHE_BYTES)

    def reference(self, checkpoint: Checkpoint, precision: str) -> TransformersEngine:
        """Build the engine of `transformers.generate`, with its own weights."""
        return TransformersEngine(checkpoint, Placement(self.device, precision))
