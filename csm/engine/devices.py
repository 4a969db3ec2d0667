"""Where the model runs and in which precision, and what device errors mean."""

from dataclasses import dataclass

import torch

from csm.errors import CsmError, GenerationFailed, ModelUnavailable
from csm.settings import Settings

FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Errors after which a CUDA context answers nothing else any more.
STICKY = ("illegal memory access", "device-side assert", "unspecified launch failure", "unrecoverable", "ECC error")


@dataclass(frozen=True)
class Placement:
    """A device and the precision of the weights on it.

    Attributes:
        device: of torch.
        precision: `float32`, `bfloat16`, `float16`, `int8` or `int4`.
    """

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations: quantised weights go with float32."""
        return FLOATS.get(self.precision, torch.float32)


def place(settings: Settings) -> Placement:
    """Choose device and precision.

    Raises:
        ModelUnavailable: the device is not there, or cannot run that precision.
    """
    device = _device(settings.device)
    precision = settings.precision if settings.precision != "auto" else _suitable(device, settings)
    if precision not in FLOATS and (device.type != "cpu" or settings.engine != "csm"):
        raise ModelUnavailable(f"CSM_PRECISION={precision} runs on CSM_DEVICE=cpu with CSM_ENGINE=csm only")
    return Placement(device, precision)


def side_stream(device: torch.device) -> torch.cuda.Stream:
    """A CUDA stream beside the current one."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda"):
        return _cuda(name)
    if name == "mps" and not torch.backends.mps.is_available():
        raise ModelUnavailable("CSM_DEVICE=mps, but this machine has no Metal device: use cpu")
    return torch.device(name)


def _cuda(name: str) -> torch.device:
    index = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ModelUnavailable(
            f"CSM_DEVICE={name}, but torch sees {count} CUDA devices: check the driver (nvidia-smi), "
            "`--gpus all` in Docker, and that torch is not a CPU build; or use CSM_DEVICE=cpu"
        )
    return torch.device("cuda", index)


def _suitable(device: torch.device, settings: Settings) -> str:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    # The demo is too small to gain from int8, and the reference cannot run it.
    exact = device.type == "mps" or settings.is_demo or settings.engine == "transformers"
    return "float32" if exact else "int8"


def describe_failure(error: Exception) -> tuple[str | None, CsmError]:
    """Tell what ends one generation from what ends the engine.

    Returns:
        The reason why the engine is lost, or None; and the error to show to the caller.
    """
    if isinstance(error, CsmError):
        return None, error
    told = GenerationFailed("the model failed on this request; the reason is in the server's log")
    told.__cause__ = error
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        told = GenerationFailed("the device ran out of memory: shorten text or sample, or lower CSM_SLOTS")
        told.__cause__ = error
        return None, told
    sticky = "CUDA" in text and any(sign in text for sign in STICKY)
    return (f"the device is lost: {text.splitlines()[0]}" if sticky else None), told
