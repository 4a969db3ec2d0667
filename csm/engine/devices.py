"""Choice of device and precision, and classification of device errors."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from csm.engine.stats import DeviceMemory
from csm.errors import CsmError, GenerationFailed, ModelUnavailable
from csm.settings import Settings

FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

FATAL_CODES = frozenset({46, 214, 220, 700, 702, 709, 710, *range(714, 720), 999})
"""CUDA errors after which a process cannot use the device any more (`cudaError_t`): the device is unavailable, ECC and
NVLink errors, illegal addresses and instructions, assertions, timeouts and failures of a launch, and unknown errors."""

FATAL_SIGNS = ("illegal memory access", "device-side assert", "launch failure", "unrecoverable", "ECC error")
"""The same in the messages of errors that carry no number."""


@dataclass(frozen=True)
class Placement:
    """A device and the precision of the weights on it.

    Attributes:
        device: of torch.
        precision: `float32`, `bfloat16`, `float16`, `int8` or `int4`.
        notice: why a GPU that is present is not used, or None.
    """

    device: torch.device
    precision: str
    notice: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations: float32 with quantised weights."""
        return FLOATS.get(self.precision, torch.float32)


def place(settings: Settings) -> Placement:
    """Choose device and precision.

    Raises:
        ModelUnavailable: the device is not there, or cannot run that precision.
    """
    device, notice = _automatic() if settings.device == "auto" else (_named(settings.device), None)
    precision = settings.precision if settings.precision != "auto" else _suitable(device, settings)
    if precision not in FLOATS and (device.type != "cpu" or settings.engine != "csm"):
        raise ModelUnavailable(f"CSM_PRECISION={precision} runs on CSM_DEVICE=cpu with CSM_ENGINE=csm only")
    return Placement(device, precision, notice)


def configure_cuda() -> None:
    """Set the flags of torch that this model needs on CUDA, for the whole process.

    On Hopper and later, attention would go to cuDNN, which takes some tenths of a second to plan each new shape, and a
    text of another length is one. Convolutions would round to TF32, and Mimi's codes of a voice with them.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False


def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a CUDA stream beside the current one."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


def to_host(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, once all work before on the current stream is done.

    A plain copy from a GPU goes to pageable memory, and the driver then keeps other threads from launching anything
    until it is done: the codec would get no turn while the frame loop runs. So this one goes through pinned memory.
    """
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    # The copy frees the pinned block for the next call; a new one takes the driver a while.
    return pinned.clone()


def memory(device: torch.device) -> DeviceMemory | None:
    """Return how much of a GPU's memory is in use, or None for a device of another kind."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return DeviceMemory(torch.cuda.memory_allocated(device), total - free, total)


def _automatic() -> tuple[torch.device, str | None]:
    """Return the fastest device that works, and a notice if a GPU is present that does not."""
    if torch.cuda.is_available():
        device = torch.device("cuda", 0)
        problem = _unsupported(device)
        if problem is None:
            return device, None
    else:
        problem = _why_no_cuda()
    name = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name), problem and f"CSM_DEVICE=auto takes {name}, because {problem}"


def _named(name: str) -> torch.device:
    if name.startswith("cuda"):
        return _cuda(name)
    if name == "mps" and not torch.backends.mps.is_available():
        raise ModelUnavailable("CSM_DEVICE=mps, but this machine has no Metal device: use cpu")
    return torch.device(name)


def _cuda(name: str) -> torch.device:
    index = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        reason = "" if count else _why_no_cuda()
        raise ModelUnavailable(
            f"CSM_DEVICE={name}, but torch sees {count} CUDA devices{f' ({reason})' if reason else ''}: check the "
            "driver (nvidia-smi), `--gpus all` in Docker, and that torch is not a CPU build; or use CSM_DEVICE=cpu"
        )
    device = torch.device("cuda", index)
    problem = _unsupported(device)
    if problem is not None:
        raise ModelUnavailable(f"CSM_DEVICE={name} cannot be used: {problem}; or use CSM_DEVICE=cpu")
    return device


def _unsupported(device: torch.device) -> str | None:
    """Return why this torch has no kernels for a GPU, or None.

    Machine code (`sm_80`) runs on GPUs of the same major version and at least the minor one, PTX (`compute_80`) on all
    later ones.
    """
    capability = torch.cuda.get_device_capability(device)
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)\w?", name) for name in torch.cuda.get_arch_list()]
    for match in filter(None, built):
        version = int(match[2]), int(match[3])
        if version <= capability and (match[1] == "compute" or version[0] == capability[0]):
            return None
    if not any(built):
        return None
    return (
        f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}, and this torch "
        f"({torch.__version__}) is built for {', '.join(torch.cuda.get_arch_list())}: install a torch that supports it"
    )


def _why_no_cuda() -> str | None:
    """Return why torch cannot use the NVIDIA GPU, or None if there is none or it is hidden on purpose."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except AssertionError:
        has_gpu = Path("/proc/driver/nvidia/version").exists()
        return "this torch is a CPU build, but there is an NVIDIA driver: install a CUDA build" if has_gpu else None
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        return None if "Found no NVIDIA driver" in text else f"CUDA cannot be used: {text}"
    return None


def _suitable(device: torch.device, settings: Settings) -> str:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    # The demo is too small to gain from int8, and `transformers` cannot run it.
    exact = device.type == "mps" or settings.is_demo or settings.engine == "transformers"
    return "float32" if exact else "int8"


def describe_failure(error: Exception) -> tuple[str | None, CsmError]:
    """Classify an error.

    Returns:
        Why the engine cannot go on, or None if only one generation ends; and the error to show to the client.
    """
    if isinstance(error, CsmError):
        return None, error
    client_error = GenerationFailed("the model failed on this request; the reason is in the server's log")
    if isinstance(error, torch.cuda.OutOfMemoryError):
        client_error = GenerationFailed(
            "the device ran out of memory: shorten text or reference audio, or lower CSM_SLOTS"
        )
    client_error.__cause__ = error
    fatal = f"the device is lost: {str(error).partition(chr(10))[0]}" if is_fatal(error) else None
    return fatal, client_error


def is_fatal(error: Exception) -> bool:
    """Return whether the process cannot use the device any more."""
    if (code := getattr(error, "error_code", None)) is not None:
        return code in FATAL_CODES
    text = str(error)
    return "CUDA" in text and any(sign in text for sign in FATAL_SIGNS)
