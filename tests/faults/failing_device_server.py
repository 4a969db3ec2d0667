"""Run as a program: the real server, on a device that fails when a file says so.

The model's step is replaced in the worker, so the server needs no hook for it. Argument: the file, which holds the name
of a fault of `FAULTS` and the step from now on that fails, such as `memory 3`. It is removed when the step has failed.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from flask import Flask

from csm import log
from csm.server import application, serve
from csm.settings import load

Step = Callable[..., torch.Tensor]


def lost(*_: Any) -> torch.Tensor:
    """Fail with an error after which a CUDA context is unusable."""
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def hung(*_: Any) -> torch.Tensor:
    """Never return."""
    time.sleep(600)
    raise AssertionError("the server waited for a hung device")


def memory(*_: Any) -> torch.Tensor:
    """Run out of memory."""
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def nan(step: Step, runtime: Any, *given: Any) -> torch.Tensor:
    """Make the state not a number."""
    runtime.state.x.fill_(torch.nan)
    return step(runtime, *given)


def code(step: Step, runtime: Any, *given: Any) -> torch.Tensor:
    """Return an impossible code."""
    made = step(runtime, *given).clone()
    made[:, -1] = 10**9
    return made


FAULTS = {fault.__name__: fault for fault in (lost, hung, memory, nan, code)}


def install_faults(orders: Path) -> None:
    """Let a step fail after the file `orders` appears."""
    from csm.engine.runtimes.torch import TorchRuntime

    healthy = TorchRuntime.step
    waited = 0

    def step(self: TorchRuntime, *given: Any) -> torch.Tensor:
        nonlocal waited
        name, _, number = orders.read_text().partition(" ") if orders.exists() else ("", "", "0")
        waited = waited + 1 if name else 0
        if not name or waited < int(number):
            return healthy(self, *given)
        orders.unlink()
        waited = 0
        return FAULTS[name](healthy, self, *given)

    TorchRuntime.step = step  # type: ignore[method-assign, assignment]


def main() -> None:
    """Serve with the settings of the environment."""
    settings = load(env_file=None)
    log.configure(settings.log_level)

    def create() -> Flask:
        install_faults(Path(sys.argv[1]))
        return application(settings)

    serve(settings, create)


if __name__ == "__main__":
    main()
