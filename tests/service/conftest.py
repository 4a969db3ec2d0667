from collections.abc import Iterator

import pytest

from tests.real_server import RealServer, real_server


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(tmp_path_factory.mktemp("service"), slots=2, queue=8) as server:
        yield server


@pytest.fixture
def server(shared: RealServer) -> RealServer:
    """The demo behind gunicorn, with two slots and a queue of eight; idle."""
    shared.await_idle(60)
    return shared
