import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from csm import web
from csm.settings import Settings, load
from flask import Flask
from flask.testing import FlaskClient

from tests.web import raw
from tests.web.fakes import Fake

ROOT = Path(__file__).resolve().parents[2]
KEY = {"X-API-Key": "secret"}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CSM_") or name == "PORT":
            monkeypatch.delenv(name)
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

    def ask(self, request: bytes) -> raw.Answer:
        return raw.ask(self.port, request)

    def get(self, path: str) -> raw.Answer:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    def health(self) -> dict[str, Any]:
        return json.loads(self.get("/health").body)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def happened(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events() if entry["event"] == event]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server with so many places and such settings; it is stopped after the test."""
    started: list[Server] = []

    def start(places: int = 4, **given: Any) -> Server:
        port = free_port()
        journal, log = tmp_path / f"journal-{port}", tmp_path / f"log-{port}"
        options = {"port": port, "api_keys": "secret", "rate_limit": "1000 per minute", "log_level": "DEBUG", **given}
        command = [sys.executable, "-W", "error", str(ROOT / "tests/web/served.py"), str(journal), str(places)]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, json.dumps(options)], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=sink
            )
        server = Server(process, port, journal, log)
        started.append(server)
        until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return server

    yield start
    for server in started:
        server.stop()
