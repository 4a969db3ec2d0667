"""Applications, test clients and servers around a fake synthesizer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from csm import web
from tests.polling import wait_until
from tests.web.app_settings import app_settings
from tests.web.fake_server import FakeServer, start_server
from tests.web.fake_synthesizer import FakeSynthesizer
from tests.web.fake_voices import FakeVoices


@pytest.fixture(autouse=True)
def no_dotenv_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, where no `.env` is read."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake() -> FakeSynthesizer:
    """Return the synthesizer behind `make_app`."""
    return FakeSynthesizer()


@pytest.fixture
def make_app(fake: FakeSynthesizer) -> Callable[..., Flask]:
    """Make an application with the settings given."""

    def make(**given: Any) -> Flask:
        settings = app_settings(**given)
        fake.voices = FakeVoices(settings)
        return web.create_app(settings, fake)

    return make


@pytest.fixture
def make_client(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    """Make a test client of an application with the settings given."""
    return lambda **given: make_app(**given).test_client()


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a test client of an application with the usual settings."""
    return make_client()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., FakeServer]]:
    """Start servers, for tests that configure or end them; stop them afterwards."""
    started: list[FakeServer] = []

    def begin(capacity: int = 4, **given: Any) -> FakeServer:
        started.append(start_server(tmp_path, capacity, **given))
        return started[-1]

    yield begin
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    """Start the server that `server` lends to one test after the other."""
    server = start_server(tmp_path_factory.mktemp("shared"), capacity=10, max_upload_mb=1)
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: FakeServer) -> FakeServer:
    """Return a running, idle server with a capacity of ten; tests leave it as they found it."""
    wait_until(lambda: shared_server.is_idle)
    shared_server.forget()
    return shared_server
