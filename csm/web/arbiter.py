"""gunicorn's master process, run from Python: our options, our log, and a second SIGTERM that means it."""

import logging
import signal
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter as GunicornArbiter
from gunicorn.glogging import Logger as GunicornLogger


class Logger(GunicornLogger):  # type: ignore[misc]
    """gunicorn's messages in our format."""

    def setup(self, cfg: Any) -> None:
        """Write through the root logger, and never at DEBUG, where gunicorn quotes what callers sent."""
        super().setup(cfg)
        self.error_log.setLevel(max(self.loglevel, logging.INFO))
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Arbiter(GunicornArbiter):  # type: ignore[misc]
    """Starts workers, and ends them: gracefully at the first SIGTERM, at once at the second."""

    def __init__(self, app: "Application") -> None:
        self._told_to_stop = False
        super().__init__(app)

    def signal(self, sig: int, frame: Any) -> None:
        """Queue a signal; a repeated SIGTERM as SIGQUIT, which gunicorn heeds while it waits for workers."""
        repeated = sig == signal.SIGTERM and self._told_to_stop
        self._told_to_stop = self._told_to_stop or sig == signal.SIGTERM
        super().signal(signal.SIGQUIT if repeated else sig, frame)


class Application(BaseApplication):  # type: ignore[misc]
    """What gunicorn runs.

    Args:
        create: makes the WSGI application, in the worker.
        options: gunicorn's settings by name.
    """

    def __init__(self, create: Callable[[], Flask], options: dict[str, Any]) -> None:
        self._create = create
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Take the options given, and no configuration file or command line."""
        for name, value in {**self._options, "logger_class": Logger}.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by the worker after the fork."""
        return self._create()

    def run(self) -> None:
        """Run until told to stop; leaves by SystemExit."""
        Arbiter(self).run()
