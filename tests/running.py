"""The server as operators run it: `sesame_server.py` in a process of its own, with a real model behind it."""

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

from tests.corpus.watch import children
from tests.web import raw
from tests.web.conftest import answers, free_port, until

ROOT = Path(__file__).resolve().parents[1]
VOICE = ROOT / "examples" / "voice.webm"
START_SECONDS = 120
BRIEF = {"text": "Hi.", "max_seconds": "0.16", "temperature": "0.9", "seed": "1"}
LONG = {
    "text": "One, two, three, four, five, six, seven. " * 12,
    "max_seconds": "60",
    "temperature": "1.5",
    "seed": "1",
}
"""So unlikely a reading that it goes on for long."""


def speak(sample: bytes | None = None, filename: str = "voice.webm", **fields: str) -> bytes:
    """A whole request to `/clone-voice`; by default a brief one with a good sample."""
    content = VOICE.read_bytes() if sample is None else sample
    parts = [raw.part("audio", content, filename)]
    parts += [raw.part(name, value.encode()) for name, value in (BRIEF | fields).items()]
    return raw.post(b"".join(parts) + f"--{raw.BOUNDARY}--\r\n".encode())


@dataclass
class Running:
    """A server that has been started.

    Attributes:
        process: gunicorn's master.
        port: on loopback.
        log: of master and workers.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def ask(self, request: bytes, timeout: float = 120) -> raw.Answer:
        return raw.ask(self.port, request, timeout)

    def get(self, path: str = "/health") -> raw.Answer:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def health(self) -> dict[str, Any]:
        """What `/health` says; empty while nobody listens."""
        try:
            return json.loads(self.get().body)
        except (OSError, ValueError):
            return {}

    @property
    def worker(self) -> int:
        """The one process that serves."""
        [pid] = until(lambda: children(self.process.pid), START_SECONDS)
        return pid

    @property
    def is_idle(self) -> bool:
        """Whether slots and queue are empty."""
        health = self.health()
        return (health.get("running"), health.get("waiting")) == (0, 0)

    def await_status(self, *states: str) -> dict[str, Any]:
        """Wait for `/health` to say one of these."""
        health = until(lambda: (h := self.health()).get("status") in states and h, START_SECONDS)
        return dict(health)

    def await_idle(self, seconds: float = 10) -> None:
        until(lambda: self.is_idle, seconds)

    def assert_serves(self) -> None:
        """The next good request succeeds, and leaves nothing in slots and queue."""
        answer = self.ask(speak())
        assert (answer.status, answer.is_complete) == (200, True), answer.raw[:500]
        self.await_idle()


@contextlib.contextmanager
def running(
    folder: Path,
    command: Sequence[str] = (sys.executable, str(ROOT / "sesame_server.py")),
    environment: Mapping[str, str] | None = None,
    healthy: bool = True,
    **settings: object,
) -> Iterator[Running]:
    """Start a server in `folder`, wait until it is healthy, and end it afterwards.

    Args:
        folder: where it runs, and where its log goes (`server.log` in it).
        command: how to start it.
        environment: beyond the tests' own.
        healthy: wait for the model; else only for the port.
        settings: of the server, by field.
    """
    port = free_port()
    given = {"model": "demo", "port": port, "api_keys": "secret", "rate_limit": "1000000 per minute", **settings}
    ours = {f"CSM_{name.upper()}": str(value) for name, value in given.items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **ours, **(environment or {})}
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink)
    server = Running(process, port, log)
    try:
        until(lambda: answers(port) or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, log.read_text()
        if healthy:
            assert server.await_status("healthy", "unhealthy")["status"] == "healthy", log.read_text()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
        process.wait(30)
