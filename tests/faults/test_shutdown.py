"""SIGTERM finishes the requests in slots and queue; SIGINT ends the server at once."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.ports import is_listening
from tests.real_server import LONG_FIELDS, clone_request, real_server

pytestmark = pytest.mark.slow


def admitted(server):
    health = server.health()
    return health.get("running", 0) + health.get("waiting", 0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_sigterm_finishes_admitted_requests(tmp_path, count):
    with real_server(tmp_path, **noise(), slots=2, queue=3) as server, ThreadPoolExecutor(5) as pool:
        speaking = [
            pool.submit(server.ask, clone_request(**(LONG_FIELDS | {"max_seconds": "2"}))) for _ in range(count)
        ]
        wait_until(lambda: admitted(server) == count)
        server.process.send_signal(signal.SIGTERM)
        answered = [future.result() for future in speaking]
        assert server.process.wait(90) == 0, server.log.read_text()
        assert [(answer.status, answer.is_complete) for answer in answered] == [(200, True)] * count
        assert not is_listening(server.port)


def test_sigint_ends_the_server_at_once(tmp_path):
    with real_server(tmp_path, **noise(), slots=2, queue=3) as server, ThreadPoolExecutor(5) as pool:
        speaking = [pool.submit(server.ask, clone_request(**LONG_FIELDS)) for _ in range(5)]
        wait_until(lambda: admitted(server) == 5)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.log.read_text())
        server.process.send_signal(signal.SIGINT)
        server.process.wait(90)
        assert not any(future.result().status == 200 and future.result().is_complete for future in speaking)
        assert not is_listening(server.port)
