"""Callers that leave and workers that die, with the real model: places come back, and the next request succeeds."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import raw_http
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, clone_request, real_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with real_server(tmp_path_factory.mktemp("callers"), slots=1, queue=2) as server:
        yield server


def holds(server, running, waiting):
    health = server.health()
    return (health.get("running"), health.get("waiting")) == (running, waiting)


@contextlib.contextmanager
def calling(server, request):
    """A caller in the middle of a request."""
    with raw_http.connect(server.port) as connection:
        connection.sendall(request)
        yield connection


def test_gone_while_it_speaks(server):
    with calling(server, clone_request(**LONG_FIELDS)) as connection:
        received = b""
        while len(received) < 20_000:
            received += connection.recv(65536)
        assert holds(server, 1, 0)
    server.await_idle()
    server.assert_serves()


def test_gone_while_it_waits_in_the_queue(server):
    with calling(server, clone_request(**LONG_FIELDS)) as speaking:
        assert speaking.recv(1000)
        with calling(server, clone_request()), calling(server, clone_request()):
            wait_until(lambda: holds(server, 1, 2))
            assert server.ask(clone_request()).status == 503
        wait_until(lambda: holds(server, 1, 0))
        assert speaking.recv(1000), "the one that speaks is not disturbed"
    server.await_idle()
    server.assert_serves()


@pytest.mark.parametrize("delay", [0, 0.05, 0.2, 0.5])
def test_gone_before_the_first_byte(server, delay):
    with calling(server, clone_request(**LONG_FIELDS)) as connection:
        connection.settimeout(delay or 1e-3)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
    server.await_idle()
    server.assert_serves()


def test_a_body_that_breaks_off(server):
    with calling(server, clone_request()[:-1000]):
        pass
    server.await_idle()
    server.assert_serves()


def test_a_worker_killed_while_it_speaks(server):
    before = server.worker_pid
    with ThreadPoolExecutor(1) as pool, calling(server, clone_request(**LONG_FIELDS)) as speaking:
        assert speaking.recv(1000)
        waiting = pool.submit(server.ask, clone_request())
        wait_until(lambda: holds(server, 1, 1))
        os.kill(before, signal.SIGKILL)
        assert not raw_http.read_to_end(speaking).endswith(b"0\r\n\r\n"), "a cut answer must not look finished"
        assert waiting.result().raw == b""
    server.await_status("healthy")
    assert server.worker_pid != before
    server.assert_serves()
