"""The real HTTP server in a process of its own, with a fake synthesizer behind it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import raw_http
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port, is_listening
from tests.web.fake_synthesizer import release_file

PROGRAM = (str(ROOT / "tests/web/serve_fake_synthesizer.py"),)


@dataclass
class FakeServer:
    """A running server.

    Attributes:
        process: gunicorn's arbiter.
        port: on loopback.
        journal: file of the synthesizer's events, one JSON object a line.
        log: of arbiter and worker.
        past: number of events that belong to earlier tests.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    journal: Path
    log: Path
    past: int = 0

    def ask(self, request: bytes) -> raw_http.Answer:
        """Send a request on a connection of its own and read the whole answer."""
        return raw_http.ask(self.port, request)

    def get(self, path: str) -> raw_http.Answer:
        """Send a GET without a key."""
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def health(self) -> dict[str, Any]:
        """Return what `/health` says."""
        document: dict[str, Any] = json.loads(self.get("/health").body)
        return document

    def events(self) -> list[dict[str, Any]]:
        """Return the events of this test's requests, oldest first."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines[self.past :]]

    def happened(self, event: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [entry for entry in self.events() if entry["event"] == event]

    @property
    def worker_pid(self) -> int:
        """Of the latest worker; the port is open before the first one boots."""
        return int(wait_until(lambda: re.findall(r"Booting worker with pid: (\d+)", self.log.read_text()))[-1])

    @property
    def is_idle(self) -> bool:
        """Whether no request holds capacity."""
        health = self.health()
        return bool(health["running"] == health["waiting"] == 0)

    def log_lines(self, part: str) -> list[str]:
        """Wait until the log has lines with `part` and return them: a line is written after its answer."""
        return wait_until(lambda: [line for line in self.log.read_text().splitlines() if part in line])

    def release(self) -> None:
        """Let generations with `hold` go on, now and later."""
        release_file(self.journal).touch()

    def forget(self) -> None:
        """Start anew for another test: no events, nothing released."""
        release_file(self.journal).unlink(missing_ok=True)
        self.past = 0
        self.past = len(self.events())

    def stop(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


def start_server(folder: Path, capacity: int = 4, program: Sequence[str] = PROGRAM, **given: Any) -> FakeServer:
    """Start a server and wait until it answers.

    Args:
        folder: for its journal and log.
        capacity: requests served at once; there is no queue.
        program: what to run; see `serve_fake_synthesizer`.
        given: settings.
    """
    port = given.get("port") or free_port()
    journal, log = folder / f"journal-{port}", folder / f"log-{port}"
    options = {"port": port, "api_keys": "secret", "rate_limit": "1000 per minute", "log_level": "DEBUG", **given}
    command = [sys.executable, "-W", "error", *program, str(journal), str(capacity), json.dumps(options)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=sink)
    server = FakeServer(process, port, journal, log)
    wait_until(lambda: is_listening(port) or process.poll() is not None, 60)
    assert process.poll() is None, log.read_text()
    assert server.health()
    return server
