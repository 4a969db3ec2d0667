import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from csm import web
from csm.settings import Settings, load
from tests.web import raw
from tests.web.fakes import Fake

ROOT = Path(__file__).resolve().parents[2]
KEY = {"X-API-Key": "secret"}


@pytest.fixture(autouse=True)
def no_dotenv_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def settings(**given: Any) -> Settings:
    return load(env_file=None, **{"api_keys": "secret", "rate_limit": "1000 per minute", **given})


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def make_app(fake: Fake) -> Callable[..., Flask]:
    return lambda **given: web.create_app(settings(**given), fake)


@pytest.fixture
def make_client(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    return lambda **given: make_app(**given).test_client()


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait for something to become true; fail if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := true():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not true within {seconds} seconds")


def answers(port: int) -> bool:
    try:
        raw.connect(port, 1).close()
    except OSError:
        return False
    return True


@dataclass
class Server:
    """A real server in another process, speaking with a fake's voice."""

    process: "subprocess.Popen[bytes]"
    port: int
    journal: Path
    log: Path
    past: int = 0
    """Events of the journal that belong to earlier tests."""

    def ask(self, request: bytes) -> raw.Answer:
        return raw.ask(self.port, request)

    def get(self, path: str) -> raw.Answer:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def health(self) -> dict[str, Any]:
        return json.loads(self.get("/health").body)

    def events(self) -> list[dict[str, Any]]:
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines[self.past :]]

    def happened(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events() if entry["event"] == event]

    @property
    def is_idle(self) -> bool:
        health = self.health()
        return health["running"] == health["waiting"] == 0

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)


SERVED = (str(ROOT / "tests/web/served.py"),)


def start(folder: Path, capacity: int = 4, program: Sequence[str] = SERVED, **given: Any) -> Server:
    """Start a server of such a capacity and such settings, and wait until it serves."""
    port = free_port()
    journal, log = folder / f"journal-{port}", folder / f"log-{port}"
    options = {"port": port, "api_keys": "secret", "rate_limit": "1000 per minute", "log_level": "DEBUG", **given}
    command = [sys.executable, "-W", "error", *program, str(journal), str(capacity)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, json.dumps(options)], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=sink
        )
    server = Server(process, port, journal, log)
    until(lambda: answers(port) or process.poll() is not None, 30)
    assert process.poll() is None, log.read_text()
    assert server.health()
    return server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of one's own, for tests that configure or end them."""
    started: list[Server] = []

    def begin(capacity: int = 4, **given: Any) -> Server:
        started.append(start(tmp_path, capacity, **given))
        return started[-1]

    yield begin
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("shared"), capacity=10, max_upload_mb=1)
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A running server with a capacity of ten; tests leave it as they found it."""
    until(lambda: shared_server.is_idle)
    shared_server.past = 0
    shared_server.past = len(shared_server.events())
    return shared_server
