"""From settings to a running server: gunicorn with one worker, or Flask's own server where gunicorn cannot run."""

import contextlib
import errno
import functools
import socket
import sys
from pathlib import Path
from typing import Any

from flask import Flask

from csm import heap, log, web
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.settings import Settings, SettingsError, load
from csm.speech.loading import LoadingSynthesizer

MOST_SLOTS = 64
"""Threads are planned for this many generations where the number depends on a device not yet known."""

SPARE_THREADS = 32
"""For /health, for turning callers away, and for uploads that are still coming in."""

SLOWEST = 10.0
"""Real-time factor at which the slowest machine worth using runs; bounds how long a generation can take."""


def application(settings: Settings | None = None) -> Flask:
    """The WSGI application with its model loading in the background.

    Raises:
        SettingsError: the configuration is wrong.
    """
    settings = settings or load()
    log.configure(settings.log_level)
    web.check(settings)
    heap.keep_small()
    return web.create_app(settings, LoadingSynthesizer(settings))


def main() -> int:
    """Run the server until it is told to stop; the exit status of the process."""
    try:
        settings = load()
        web.check(settings)
    except SettingsError as error:
        return _fail(str(error), 2)
    log.configure(settings.log_level)
    try:
        hub.check(settings)
        check_port(settings)
    except (ModelUnavailable, OSError) as error:
        return _fail(str(error), 1)
    serve = _serve_with_gunicorn if _has_gunicorn() else _serve_with_flask
    serve(settings)
    return 0


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """How gunicorn is run, and why so."""
    memory = Path("/dev/shm")
    longest = settings.deadline_seconds + SLOWEST * settings.max_audio_seconds
    return {
        "bind": _address(settings),
        # One process owns the device; threads wait for it. The model is loaded after the fork: a forked torch hangs.
        "workers": 1,
        "worker_class": "csm.web.worker.Worker",
        "threads": (settings.slots or MOST_SLOTS) + settings.queue + SPARE_THREADS,
        "preload_app": False,
        "max_requests": 0,
        # Guards the worker's main loop, not requests; a long load may hold Python's lock for minutes.
        "timeout": 300,
        "graceful_timeout": int(longest),
        # Longer than load balancers keep idle connections (AWS: 60 s), so that they never reuse one we just closed.
        "keepalive": 75,
        "limit_request_line": 4094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        # Forwarded headers are believed by count of proxies, in the application, and nowhere else.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "worker_tmp_dir": str(memory) if memory.is_dir() else None,
        "control_socket_disable": True,
        "accesslog": None,
        "loglevel": settings.log_level.lower(),
    }


def _serve_with_gunicorn(settings: Settings) -> None:
    from csm.web.arbiter import Application

    Application(functools.partial(application, settings), gunicorn_options(settings)).run()


def _serve_with_flask(settings: Settings) -> None:
    app = application(settings)
    with contextlib.suppress(KeyboardInterrupt):
        app.run(settings.host, settings.port, threaded=True, debug=False, load_dotenv=False)
    web.synthesizer_of(app).close()


def _has_gunicorn() -> bool:
    try:
        import gunicorn.arbiter  # noqa: F401
    except ImportError:
        return False
    return True


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def check_port(settings: Settings) -> None:
    """Say in one line what gunicorn would take five attempts and as many lines to say.

    Raises:
        OSError: the address cannot be listened on; the message is meant for the operator.
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


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"sesame_server: {message}\n")
    return status
