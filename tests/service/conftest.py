from collections.abc import Iterator

import pytest

from tests.running import Running, running


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service"), slots=2, queue=8) as server:
        yield server


@pytest.fixture
def server(shared: Running) -> Running:
    """The demo behind gunicorn, with two slots and a queue of eight; idle."""
    shared.await_idle(60)
    return shared
