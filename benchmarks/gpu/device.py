"""Describe the device and measure its memory, its copy bandwidth, times of work on it, and kernel launches."""

import gc
import itertools
import os
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.report import hardware

COPY_BYTES = {"cuda": 2_000_000_000, "cpu": 100_000_000}


def describe(device: torch.device) -> dict[str, Any]:
    """Return a description of the machine and the device."""
    described = hardware()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return described | {"memory_gb": memory(device)}


def memory(device: torch.device) -> dict[str, float]:
    """Return free and total memory in GB as reported by the driver, so including other processes and CUDA graphs."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        free, total = torch.cuda.mem_get_info(device)
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = (page * os.sysconf(name) for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
    return {"free": free / 1e9, "total": total / 1e9}


def release(device: torch.device) -> None:
    """Return unused memory to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> list[float]:
    """Return the times of `repeats` runs of `work` on the device in seconds, after two warm-up runs."""
    for _ in range(2):
        work()
    if device.type != "cuda":
        return [_elapsed(work) for _ in range(repeats)]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(marks)]


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def bandwidth(device: torch.device) -> dict[str, float]:
    """Measure the bytes per second of a large copy on the device, counting both reads and writes."""
    source = torch.randint(0, 255, (COPY_BYTES[device.type],), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return spread([2 * source.nbytes / taken for taken in seconds(lambda: target.copy_(source), device, 15)])


def launches(work: Callable[[], Any], device: torch.device) -> int:
    """Count the kernels, copies and fills that one run of `work` launches; on a CPU, the operations."""
    work()
    if device.type != "cuda":
        with _Operations() as operations:
            work()
        return operations.count
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize(device)
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events() or ())


class _Operations(TorchDispatchMode):
    """Count the operations of torch, except those that only return a view."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not any(result.alias_info and not result.alias_info.is_write for result in op._schema.returns)
        return op(*args, **(kwargs or {}))


def frame_bytes(runtime: Any, rows: int, length: int) -> dict[str, float]:
    """Return the minimum number of bytes that a frame reads: each weight once per use, and all keys and values."""
    backbone = _bytes(runtime.backbone.parameters())
    # The first two positions of the depth decoder are computed in one step, so its layers are read once for each
    # codebook after the first.
    steps = (runtime.codebooks - 1) * _bytes(runtime.depth.transformer.parameters())
    heads = _bytes([*runtime.depth.heads.parameters(), *runtime.depth.first_head.parameters()])
    store = runtime.kv_cache.store
    cached = store[:, :, 0, 0].nbytes * rows * length
    return {"weights": float(backbone + steps + heads), "keys_and_values": float(cached)}


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _elapsed(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the norm of the difference, relative to the norm of `theirs`."""
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))
