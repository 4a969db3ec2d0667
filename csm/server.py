"""From settings to a running server: gunicorn with one worker, or Flask's own server where gunicorn cannot run."""

import atexit
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from csm import asr, log, memory_tuning, web
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.settings import Settings, SettingsError, load
from csm.speech import Synthesizer
from csm.speech.lexicon import Lexicon
from csm.speech.loading import LoadingSynthesizer

logger = logging.getLogger("csm")

MAX_SLOTS = 64
"""Threads are planned for this many generations where the number depends on a device not yet known."""
SPARE_THREADS = 32
"""For /health and for refusals."""
DEVICE_LOST = 70
"""Exit status of a worker whose device is lost; gunicorn starts a new worker (3 and 4 would stop the server)."""
DEVICE_LOST_SECONDS = 5.0
"""In which answers may fail by themselves, with a status, once the device is lost."""


def application(settings: Settings | None = None) -> Flask:
    """Return the WSGI application, with its model loading in the background.

    Raises:
        SettingsError: the configuration is wrong.
    """
    settings = settings or load()
    log.configure(settings.log_level)
    web.check(settings)
    Lexicon.from_settings(settings)  # read again with the model; here a mistake stops the start
    memory_tuning.configure_malloc()
    return web.create_app(settings, LoadingSynthesizer(settings))


def main() -> int:
    """Run the server until it is told to stop, and return the exit status of the process."""
    log.configure("INFO")
    try:
        settings = load()
        log.configure(settings.log_level)
        web.check(settings)
        Lexicon.from_settings(settings)
        hub.check(settings)
        asr.check(settings.transcriber)
        check_port(settings)
    except (SettingsError, ModelUnavailable, OSError) as error:
        sys.stderr.write(f"sesame_server: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    try:
        serve(settings, lambda: application(settings))
    except ImportError:  # on Windows there is no gunicorn
        app = application(settings)
        with contextlib.suppress(KeyboardInterrupt):
            app.run(settings.host, settings.port, threaded=True, debug=False, load_dotenv=False)
        web.synthesizer_of(app).close()
    return 0


def serve(settings: Settings, create: Callable[[], Flask]) -> None:
    """Run gunicorn until it is told to stop; leaves by SystemExit.

    Args:
        settings: of the server.
        create: makes the application, in the worker process.

    Raises:
        ImportError: gunicorn does not run here.
    """
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):  # type: ignore[misc]
        """Runs gunicorn from Python, as its documentation shows."""

        def load_config(self) -> None:
            """Take the options given here, and no configuration file or command line."""
            for name, value in gunicorn_options(settings).items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            """Make the application in the worker, after the fork, and tie its life to the worker's."""
            app = create()
            synthesizer = web.synthesizer_of(app)
            atexit.register(synthesizer.close)
            threading.Thread(target=watch_device, args=(synthesizer,), name="watchdog", daemon=True).start()
            stop: Any = signal.getsignal(signal.SIGTERM)

            def drain(number: int, frame: Any) -> None:
                """Report `draining` in /health while gunicorn finishes the running requests."""
                synthesizer.drain()
                stop(number, frame)

            signal.signal(signal.SIGTERM, drain)
            # At once. gunicorn's own handler waits for a lock that the interrupted code may hold, and Python's exit
            # for all threads, that is for all streams.
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, lambda *_: os._exit(0))
            return app

    Application().run()


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's configuration by the names of its settings."""
    threads = (settings.slots or MAX_SLOTS) + settings.queue + SPARE_THREADS
    return {
        "bind": _address(settings),
        # One process owns the device; threads wait for it. The model is loaded after the fork: a forked torch hangs.
        "workers": 1,
        "worker_class": "gthread",
        "threads": threads,
        # Fewer than the 1,024 files that a process may usually open.
        "worker_connections": threads + 256,
        "preload_app": False,
        "max_requests": 0,
        # Guards the worker's main loop, not requests; a long load may hold Python's lock for minutes.
        "timeout": 300,
        # In which answers may be finished after SIGTERM.
        "graceful_timeout": 180,
        # Longer than proxies and load balancers keep idle connections (nginx and AWS: 60 s), so that they never reuse
        # one that was just closed.
        "keepalive": 75,
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        # Forwarded headers are believed by count of proxies, in the application, and nowhere else.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        # The worker's heartbeat: no disk needs to be written.
        "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,
        "control_socket_disable": True,
        "accesslog": None,
        "logconfig_dict": log.gunicorn(settings.log_level),
    }


def watch_device(synthesizer: Synthesizer) -> None:
    """Wait until the device is lost, then end the process, so that gunicorn starts a new worker."""
    while not (status := synthesizer.status()).details.get("restart"):
        time.sleep(0.5)
    deadline = time.monotonic() + DEVICE_LOST_SECONDS
    while status.running + status.waiting and time.monotonic() < deadline:
        time.sleep(0.1)
        status = synthesizer.status()
    logger.critical("the device needs a new process: %s", status.reason)
    os._exit(DEVICE_LOST)


def _address(settings: Settings) -> str:
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"


def check_port(settings: Settings) -> None:
    """Check that the address can be listened on, which gunicorn would try five times first.

    Raises:
        OSError: it cannot; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise OSError(f"cannot listen on {_address(settings)}: {_remedy(error)}") from None


def _remedy(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "the port is in use; stop the other program or set CSM_PORT "
        "(on macOS, AirPlay Receiver holds port 5000)",
        errno.EADDRNOTAVAIL: "this machine has no such address; set CSM_HOST",
        errno.EACCES: "ports below 1024 need privileges; set CSM_PORT",
    }
    return remedies.get(error.errno or 0, "set CSM_HOST and CSM_PORT to an address of this machine")
