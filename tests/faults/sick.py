"""Run as a program: the real server on a device that fails when a file says so.

The fault is put into the model's step from outside, after the fork, as a driver would: the server has no hook for it.
Argument: the file, which holds `lost` or `hung` and is removed when the fault strikes.
"""

import sys
import time
from pathlib import Path
from typing import Any

from flask import Flask

from csm import log
from csm.server import application, gunicorn_options
from csm.settings import load
from csm.web.arbiter import Application


def infect(orders: Path) -> None:
    """Let the next step after `orders` appears fail."""
    from csm.engine.runtime import TorchRuntime

    healthy = TorchRuntime.step

    def step(self: TorchRuntime, *given: Any) -> Any:
        order = orders.read_text() if orders.exists() else ""
        orders.unlink(missing_ok=True)
        if order == "lost":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if order == "hung":
            time.sleep(600)
        return healthy(self, *given)

    TorchRuntime.step = step  # type: ignore[method-assign]


def main() -> None:
    settings = load(env_file=None)
    log.configure(settings.log_level)

    def create() -> Flask:
        infect(Path(sys.argv[1]))
        return application(settings)

    Application(create, gunicorn_options(settings)).run()


if __name__ == "__main__":
    main()
