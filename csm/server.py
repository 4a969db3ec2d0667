"""Run the server: gunicorn with one worker process, or Flask's own server where gunicorn cannot run."""

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
from csm.audio.watermark import weights
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.settings import Settings, SettingsError, load
from csm.speech import Synthesizer
from csm.speech.lexicon import Lexicon
from csm.speech.loading import LoadingSynthesizer
from csm.speech.voices.library import VoiceLibrary

logger = logging.getLogger("csm")

MAX_SLOTS = 64
"""Number of generations that threads are provided for if it depends on a device that is not known yet."""
SPARE_THREADS = 32
"""Threads for /health and for refusing requests."""
DEVICE_LOST = 70
"""Exit status of a worker whose device is lost; gunicorn starts a new worker (3 and 4 would stop the server)."""
DEVICE_LOST_SECONDS = 5.0
"""Time for running requests to end with an error status after the device is lost."""


def application(settings: Settings | None = None) -> Flask:
    """Return the WSGI application; the model loads in the background.

    Raises:
        SettingsError: the configuration is wrong.
    """
    settings = settings or load()
    log.configure(settings.log_level, settings.log_format)
    web.check(settings)
    check_files(settings)
    memory_tuning.configure_malloc()
    app = web.create_app(settings, LoadingSynthesizer(settings))
    web.serve_metrics(app, settings)
    return app


def main() -> int:
    """Run the server until it is stopped, and return the exit status of the process."""
    log.configure("INFO")
    try:
        settings = load()
        log.configure(settings.log_level, settings.log_format)
        web.check(settings)
        check_files(settings)
        hub.check(settings)
        asr.check(settings.transcriber)
        weights.check(settings.watermark)
        check_ports(settings)
    except (SettingsError, ModelUnavailable, OSError) as error:
        sys.stderr.write(f"sesame_server: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    try:
        serve(settings, lambda: application(settings))
    except ImportError:  # gunicorn does not run on Windows
        app = application(settings)
        with contextlib.suppress(KeyboardInterrupt):
            app.run(settings.host, settings.port, threaded=True, debug=False, load_dotenv=False)
        web.synthesizer_of(app).close()
    return 0


def check_files(settings: Settings) -> None:
    """Check the lexicon and the folder of stored voices, which are opened again with the model.

    Raises:
        SettingsError: one of them cannot be used.
    """
    Lexicon.from_settings(settings)
    VoiceLibrary.from_settings(settings)


def serve(settings: Settings, create: Callable[[], Flask]) -> None:
    """Run gunicorn until it is stopped.

    Args:
        settings: of the server.
        create: returns the application; called in the worker process.

    Raises:
        ImportError: gunicorn does not run here.
        SystemExit: gunicorn has ended.
    """
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):  # type: ignore[misc]
        """Run gunicorn from Python, as its documentation shows."""

        def load_config(self) -> None:
            """Set the options below; no configuration file or command line is read."""
            for name, value in gunicorn_options(settings).items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            """Create the application in the worker, after the fork, and end it with the worker."""
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
            # Exit at once: gunicorn's own handler waits for a lock that the interrupted code may hold, and a regular
            # exit of Python waits for all threads, and so for all streams.
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, lambda *_: os._exit(0))
            return app

    Application().run()


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings by name."""
    threads = (settings.slots or MAX_SLOTS) + settings.queue + SPARE_THREADS
    return {
        "bind": _address(settings.host, settings.port),
        # One process uses the device, with a thread for each request. The model is loaded after the fork, because
        # torch hangs in a forked process.
        "workers": 1,
        "worker_class": "gthread",
        "threads": threads,
        # Below the usual limit of 1,024 open files.
        "worker_connections": threads + 256,
        "preload_app": False,
        "max_requests": 0,
        # Applies to the worker's main loop, not to requests; loading may hold the GIL for minutes.
        "timeout": 300,
        # Seconds for running requests to finish after SIGTERM.
        "graceful_timeout": 180,
        # Longer than proxies and load balancers keep idle connections (nginx and AWS: 60 s), so that they never reuse
        # a connection that was just closed.
        "keepalive": 75,
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        # The application alone evaluates forwarded headers, by the number of trusted proxies.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        # For the worker's heartbeat, so that it needs no writable disk.
        "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,
        "control_socket_disable": True,
        "accesslog": None,
        "logconfig_dict": log.gunicorn(settings.log_level, settings.log_format),
    }


def watch_device(synthesizer: Synthesizer) -> None:
    """Wait until the device is lost, then exit, so that gunicorn starts a new worker."""
    while not (status := synthesizer.status()).details.get("restart"):
        time.sleep(0.5)
    deadline = time.monotonic() + DEVICE_LOST_SECONDS
    while status.running + status.waiting and time.monotonic() < deadline:
        time.sleep(0.1)
        status = synthesizer.status()
    logger.critical("the device needs a new process: %s", status.reason)
    os._exit(DEVICE_LOST)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_ports(settings: Settings) -> None:
    """Check that the server can listen on its addresses; gunicorn would try five times before it reports an error.

    Raises:
        OSError: it cannot; the message names the remedy.
    """
    _check_port(settings.host, settings.port, "CSM_PORT")
    if settings.metrics_port is not None:
        _check_port(web.METRICS_HOST, settings.metrics_port, "CSM_METRICS_PORT")


def _check_port(host: str, port: int, variable: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"cannot listen on {_address(host, port)}: {_remedy(error, variable)}") from None


def _remedy(error: OSError, variable: str) -> str:
    remedies = {
        errno.EADDRINUSE: f"the port is in use; stop the other program or set {variable} "
        "(on macOS, AirPlay Receiver holds port 5000)",
        errno.EADDRNOTAVAIL: "this machine has no such address; set CSM_HOST",
        errno.EACCES: f"ports below 1024 need privileges; set {variable}",
    }
    return remedies.get(error.errno or 0, f"set CSM_HOST and {variable} to an address of this machine")
