"""Clients disconnect and workers are killed, with the real model: the next request succeeds."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import raw_http
from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, clone_request, real_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with real_server(tmp_path_factory.mktemp("disconnects"), **noise(), slots=1, queue=2) as server:
        yield server


def has_requests(server, running, waiting):
    health = server.health()
    return (health.get("running"), health.get("waiting")) == (running, waiting)


@contextlib.contextmanager
def sent(server, request):
    """Send a request; disconnect afterwards."""
    with raw_http.connect(server.port) as connection:
        connection.sendall(request)
        yield connection


def test_a_client_disconnects_while_it_receives_audio(server):
    with sent(server, clone_request(**LONG_FIELDS)) as connection:
        received = b""
        while len(received) < 20_000:
            received += connection.recv(65536)
        assert has_requests(server, 1, 0)
    server.await_idle()
    server.assert_serves()


def test_clients_disconnect_while_they_wait_in_the_queue(server):
    with sent(server, clone_request(**LONG_FIELDS)) as speaking:
        assert speaking.recv(1000)
        with sent(server, clone_request()), sent(server, clone_request()):
            wait_until(lambda: has_requests(server, 1, 2))
            assert server.ask(clone_request()).status == 503
        wait_until(lambda: has_requests(server, 1, 0))
        assert speaking.recv(1000), "the running request goes on"
    server.await_idle()
    server.assert_serves()


@pytest.mark.parametrize("delay", [0, 0.05, 0.2, 0.5])
def test_a_client_disconnects_before_the_first_byte(server, delay):
    with sent(server, clone_request(**LONG_FIELDS)) as connection:
        connection.settimeout(delay or 1e-3)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
    server.await_idle()
    server.assert_serves()


def test_a_client_disconnects_during_its_upload(server):
    with sent(server, clone_request()[:-1000]):
        pass
    server.await_idle()
    server.assert_serves()


def test_a_worker_is_killed_during_an_answer(server):
    before = server.worker_pid
    with ThreadPoolExecutor(1) as pool, sent(server, clone_request(**LONG_FIELDS)) as speaking:
        assert speaking.recv(1000)
        waiting = pool.submit(server.ask, clone_request())
        wait_until(lambda: has_requests(server, 1, 1))
        os.kill(before, signal.SIGKILL)
        assert not raw_http.read_to_end(speaking).endswith(b"0\r\n\r\n"), (
            "an answer that breaks off must not look complete"
        )
        assert waiting.result().raw == b""
    server.await_status("healthy")
    assert server.worker_pid != before
    server.assert_serves()
