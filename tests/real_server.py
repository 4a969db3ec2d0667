"""The server as operators run it: `sesame_server.py` in a process of its own, with a real model."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import raw_http
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port, is_listening
from tests.process_probes import children
from tests.reference_audio import VOICE

START_SECONDS = 120
"""Bounds how long a broken start hangs; a start takes a few seconds."""

SHORT_FIELDS = {"text": "Hi.", "max_seconds": "0.8", "temperature": "0.9", "seed": "1"}
LONG_FIELDS = {
    "text": "One, two, three, four, five, six, seven. " * 12,
    "max_seconds": "60",
    "temperature": "1.5",
    "seed": "1",
}
"""A generation that goes on for long: so high a temperature makes an early end unlikely."""


def clone_request(audio: bytes | None = None, filename: str = "voice.webm", /, **fields: str) -> bytes:
    """Return a request to `/clone-voice`, by default for a short word in the voice of `VOICE`."""
    content = VOICE.read_bytes() if audio is None else audio
    parts = [raw_http.part("audio", content, filename)]
    parts += [raw_http.part(name, value.encode()) for name, value in (SHORT_FIELDS | fields).items()]
    return raw_http.post(b"".join(parts) + f"--{raw_http.BOUNDARY}--\r\n".encode())


@dataclass
class RealServer:
    """A running server.

    Attributes:
        process: gunicorn's arbiter.
        port: on loopback.
        log: of arbiter and worker.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def ask(self, request: bytes, timeout: float = 120) -> raw_http.Answer:
        """Send a request on a connection of its own and read the whole answer."""
        return raw_http.ask(self.port, request, timeout)

    def get(self, path: str = "/health") -> raw_http.Answer:
        """Send a GET without a key."""
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def health(self) -> dict[str, Any]:
        """Return what `/health` says; nothing while no process listens."""
        try:
            document: dict[str, Any] = json.loads(self.get().body)
        except (OSError, ValueError):
            return {}
        return document

    @property
    def worker_pid(self) -> int:
        """Of the one process that serves."""
        [pid] = wait_until(lambda: children(self.process.pid), START_SECONDS)
        return pid

    @property
    def is_idle(self) -> bool:
        """Whether slots and queue are empty."""
        health = self.health()
        return (health.get("running"), health.get("waiting")) == (0, 0)

    def await_status(self, *states: str) -> dict[str, Any]:
        """Wait until `/health` says one of these and return it."""
        return wait_until(lambda: health if (health := self.health()).get("status") in states else {}, START_SECONDS)

    def await_idle(self, seconds: float = 60) -> None:
        """Wait until slots and queue are empty."""
        wait_until(lambda: self.is_idle, seconds)

    def assert_serves(self) -> None:
        """Assert that the next request succeeds and releases its capacity."""
        answer = self.ask(clone_request())
        assert (answer.status, answer.is_complete) == (200, True), answer.raw[:500]
        self.await_idle()


@contextlib.contextmanager
def real_server(
    folder: Path,
    command: Sequence[str] = (sys.executable, str(ROOT / "sesame_server.py")),
    environment: Mapping[str, str] | None = None,
    healthy: bool = True,
    **settings: object,
) -> Iterator[RealServer]:
    """Run a server in `folder` and wait until it is healthy.

    Args:
        folder: its working directory, which gets its log, `server.log`.
        command: what to run.
        environment: added to that of the tests.
        healthy: whether to wait for the model, or for the port alone.
        settings: of the server, by the names of `Settings`.
    """
    port = free_port()
    given = {"model": "demo", "port": port, "api_keys": "secret", "rate_limit": "1000000 per minute"}
    given |= {"watermark": "off", **settings}
    ours = {f"CSM_{name.upper()}": str(value) for name, value in given.items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **ours, **(environment or {})}
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink)
    server = RealServer(process, port, log)
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, log.read_text()
        if healthy:
            assert server.await_status("healthy", "unhealthy")["status"] == "healthy", log.read_text()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
        process.wait(60)
