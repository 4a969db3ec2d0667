"""Stock gunicorn with the server's configuration, on real sockets, around a fake synthesizer."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from csm.web import forms, responses
from tests import raw_http
from tests.polling import wait_until
from tests.ports import is_listening
from tests.raw_http import clone_request
from tests.web.fake_server import FakeServer
from tests.web.fake_synthesizer import CHUNK

HEADER = 44
CAPACITY = 10
"""Of the shared server."""

Serve = Callable[..., FakeServer]


def receive(connection: socket.socket, is_enough: Callable[[bytes], bool]) -> bytes:
    """Receive until the bytes are enough; fail when the connection ends before."""
    received = b""
    while not is_enough(received):
        data = connection.recv(65536)
        assert data, received
        received += data
    return received


def has_audio(received: bytes) -> bool:
    return len(received.partition(b"\r\n\r\n")[2]) > HEADER + len(CHUNK)


def test_the_first_audio_is_sent_before_the_rest_is_generated(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        connection.sendall(raw_http.closing(clone_request("chunks=20 hold=1")))
        received = receive(connection, has_audio)
        assert not server.happened("end")
        server.release()
        received += raw_http.read_to_end(connection)
    assert raw_http.parse(received).body[HEADER:] == 20 * CHUNK


def test_a_whole_answer_has_its_length_and_keeps_the_connection(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        for _ in range(3):
            connection.sendall(clone_request(stream="false"))
            answer = raw_http.parse(receive(connection, lambda received: received.endswith(3 * CHUNK)))
            assert answer.is_complete
            assert answer.headers["connection"] == "keep-alive"
            assert "transfer-encoding" not in answer.headers


def test_a_stream_that_fails_breaks_off_without_the_last_chunk(server: FakeServer) -> None:
    answer = server.ask(clone_request("chunks=9 fail=GenerationFailed after=2"))
    assert answer.status == 200
    assert answer.body[HEADER:] == 2 * CHUNK
    assert not answer.is_complete
    assert b"\r\n0\r\n" not in answer.raw
    assert server.ask(clone_request()).is_complete
    assert server.health()["running"] == 0


def test_under_http_1_0_a_stream_that_fails_ends_with_a_reset(server: FakeServer) -> None:
    failing = raw_http.form("chunks=9 pace=0.05 fail=GenerationFailed after=2")
    with raw_http.connect(server.port) as connection, pytest.raises(ConnectionResetError):
        connection.sendall(raw_http.post(failing, version="1.0"))
        while connection.recv(65536):
            pass
    whole = server.ask(raw_http.post(raw_http.form("chunks=3"), version="1.0"))
    assert "transfer-encoding" not in whole.headers
    assert whole.body[HEADER:] == 3 * CHUNK


@pytest.mark.parametrize("chunks_before", [0, 1])
def test_a_client_that_disconnects_stops_the_generation(server: FakeServer, chunks_before: int) -> None:
    """Nothing releases the held generation: it ends because of the disconnect alone."""
    with raw_http.connect(server.port) as connection:
        connection.sendall(clone_request(f"chunks=600 hold={chunks_before}"))
        wait_until(lambda: server.happened("begin"))
        if chunks_before:
            receive(connection, has_audio)
        assert server.health()["running"] == 1
    [end] = wait_until(lambda: server.happened("end"))
    assert server.happened("disconnected") and end["said"] == chunks_before
    wait_until(lambda: server.is_idle)
    assert server.log_lines("outcome=disconnected")


def test_a_client_that_waits_or_pipelines_is_not_disconnected(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        connection.sendall(clone_request("chunks=2 pace=0.1", stream="false") + clone_request(stream="false"))
        receive(connection, lambda received: received.count(b"HTTP/1.1 200") == 2 and received.endswith(3 * CHUNK))
    assert not server.happened("disconnected")


def test_ten_clients_at_once_each_get_their_own_answer(server: FakeServer) -> None:
    marks = range(1, CAPACITY + 1)
    with ThreadPoolExecutor(CAPACITY) as pool:
        requests = [clone_request(f"chunks=20 pace=0.005 mark={mark}") for mark in marks]
        answers = list(pool.map(server.ask, requests))
    for mark, answer in zip(marks, answers, strict=True):
        assert answer.is_complete
        assert answer.body[HEADER:] == bytes([mark]) * 20 * len(CHUNK)


def test_requests_over_capacity_are_refused_while_the_others_are_served(server: FakeServer) -> None:
    with ThreadPoolExecutor(CAPACITY) as pool:
        served = [pool.submit(server.ask, clone_request("hold=1")) for _ in range(CAPACITY)]
        wait_until(lambda: len(server.happened("begin")) == CAPACITY)
        refused = [server.ask(clone_request()) for _ in range(5)]
        assert not server.happened("end")
        server.release()
        assert all(answer.result().is_complete and answer.result().status == 200 for answer in served)
    assert all((answer.status, answer.is_complete) == (503, True) for answer in refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(server.happened("end")) == CAPACITY


def begin_upload(server: FakeServer) -> socket.socket:
    """Send a request whose body does not come."""
    connection = raw_http.connect(server.port)
    connection.sendall(raw_http.post(b"x" * 1000)[:-1000])
    return connection


def test_an_unfinished_upload_holds_capacity_until_its_client_disconnects(server: FakeServer) -> None:
    with contextlib.ExitStack() as uploads:
        for _ in range(CAPACITY):
            uploads.enter_context(begin_upload(server))
        wait_until(lambda: server.health()["waiting"] == CAPACITY)
        assert server.ask(clone_request()).status == 503
    wait_until(lambda: server.is_idle)
    assert server.ask(clone_request()).is_complete


def test_a_refused_body_frees_the_capacity(server: FakeServer) -> None:
    for _ in range(CAPACITY + 1):
        assert server.ask(raw_http.post(b"rubbish")).status == 400
    assert server.ask(clone_request()).is_complete


@pytest.mark.slow
def test_an_upload_that_is_not_finished_in_time_is_refused_and_frees_the_capacity(serve: Serve) -> None:
    server = serve(capacity=1)
    with begin_upload(server) as connection:
        connection.settimeout(10 * forms.BODY_SECONDS)
        wait_until(lambda: server.health()["waiting"] == 1)
        received = receive(connection, lambda received: b"did not arrive" in received)
        assert received.startswith(b"HTTP/1.1 400")
        assert server.ask(clone_request()).is_complete


def test_clients_that_send_all_of_a_refused_body_first_can_read_the_answer(server: FakeServer) -> None:
    for key, status in (("secret", 413), ("wrong", 401)):
        answer = server.ask(raw_http.post(raw_http.form(audio=bytes(20_000_000)), X_API_Key=key))
        assert (answer.status, answer.is_complete) == (status, True)


def chunked_request(body: bytes, first: int) -> bytes:
    """Send a body in two chunks and without its length."""
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:first], body[first:])) + b"0\r\n\r\n"
    return raw_http.post(b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"") + pieces


def test_a_chunked_body_is_limited_as_well(server: FakeServer) -> None:
    assert server.ask(chunked_request(raw_http.form(audio=bytes(3_000_000)), 9)).status == 413
    assert server.ask(chunked_request(raw_http.form(), 9)).status == 200


def test_a_header_in_pieces(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        for piece in (b"GET /hea", b"lth HTTP/1.1\r", b"\nHost: t\r\n\r", b"\nGET /health/live HTTP/1.1\r\n", b"\r\n"):
            connection.sendall(piece)
            # So that each piece arrives in a packet of its own.
            time.sleep(0.05)
        receive(connection, lambda received: received.count(b"HTTP/1.1 200 OK") == 2)


@pytest.mark.slow
def test_a_body_that_comes_byte_by_byte_is_refused(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        connection.sendall(raw_http.post(b"", Content_Length="1000", Connection="close"))
        connection.settimeout(1)
        received = b""
        while not received:
            connection.sendall(b"-")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
        received += raw_http.read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 400")
    assert b"did not arrive" in received


@pytest.mark.slow
def test_a_client_that_does_not_read_is_cut_off(server: FakeServer) -> None:
    with raw_http.connect(server.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(clone_request("chunks=100000"))
        wait_until(lambda: server.happened("end"), 20 * responses.WRITE_SECONDS)
    assert server.health()["running"] == 0


def test_sigterm_lets_answers_finish_and_is_told_on_kept_connections(serve: Serve) -> None:
    server = serve(capacity=5)
    with ThreadPoolExecutor(5) as pool, raw_http.connect(server.port) as kept:
        kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        speaking = [pool.submit(server.ask, clone_request("hold=1")) for _ in range(5)]
        wait_until(lambda: len(server.happened("begin")) == 5)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.happened("drain"))
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        health = raw_http.parse(raw_http.read_to_end(kept))
        assert (health.status, health.headers["connection"]) == (503, "close")
        assert b'"draining"' in health.body
        server.release()
        assert all(answer.result().is_complete for answer in speaking)
    assert server.process.wait(60) == 0
    assert server.events()[-1]["event"] == "close"
    assert not is_listening(server.port)


WITHOUT_PATIENCE = """
from csm import server
from tests.web.serve_fake_synthesizer import main
options = server.gunicorn_options
server.gunicorn_options = lambda settings: options(settings) | {"graceful_timeout": 2}
main()
"""


def test_after_the_graceful_timeout_an_unfinished_answer_breaks_off(serve: Serve) -> None:
    """Nothing releases the held generation: waiting for its answer would take for ever."""
    server = serve(program=("-c", WITHOUT_PATIENCE))
    with ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(server.ask, clone_request("hold=1"))
        wait_until(lambda: server.happened("begin"))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(90) == 0
        assert not speaking.result().is_complete


@pytest.mark.slow
def test_sigterm_ends_a_server_whose_connections_are_idle(serve: Serve) -> None:
    """Within less than `graceful_timeout`, 180 s: idle connections are not waited for."""
    server = serve()
    with raw_http.connect(server.port):
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(90) == 0


@pytest.mark.parametrize("first_sigterm", [False, True])
def test_sigint_ends_the_server_without_finishing_answers(serve: Serve, first_sigterm: bool) -> None:
    """Nothing releases the held generation: waiting for its answer would take 180 s."""
    server = serve()
    with ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(server.ask, clone_request("hold=1"))
        wait_until(lambda: server.happened("begin"))
        if first_sigterm:
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.happened("drain"))
        server.process.send_signal(signal.SIGINT)
        server.process.wait(90)
        assert not speaking.result().is_complete
    assert not is_listening(server.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_worker_whose_main_loop_is_busy(serve: Serve, number: int) -> None:
    """New connections keep the main loop busy with its locks, which a signal may interrupt."""
    server = serve()
    over = threading.Event()

    def connect_again_and_again() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                server.get("/health/live")

    with ThreadPoolExecutor(20) as pool:
        for _ in range(20):
            pool.submit(connect_again_and_again)
        wait_until(server.health)
        server.process.send_signal(number)
        try:
            server.process.wait(90)
        finally:
            over.set()


def test_a_killed_worker_is_replaced(serve: Serve) -> None:
    server = serve()
    pid = server.worker_pid
    with ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(server.ask, clone_request("hold=1"))
        wait_until(lambda: server.happened("begin"))
        os.kill(pid, signal.SIGKILL)
        assert not speaking.result().is_complete
    wait_until(lambda: server.worker_pid != pid)
    assert server.ask(clone_request()).is_complete


def test_a_lost_device_gets_a_new_process(serve: Serve) -> None:
    server = serve()
    pid = server.worker_pid
    server.ask(clone_request("restart=1 fail=GenerationFailed"))
    wait_until(lambda: server.worker_pid != pid)
    assert "exited with code 70" in server.log.read_text()
    wait_until(lambda: server.ask(clone_request()).is_complete)


@pytest.mark.parametrize("body", [b"", b"anything"])
def test_smuggled_and_broken_requests_are_refused(server: FakeServer, body: bytes) -> None:
    requests = [
        raw_http.post(body, Transfer_Encoding="chunked"),
        raw_http.post(body, Content_Length="-1"),
        raw_http.post(body, Content_Length="1, 1"),
        raw_http.post(body, X_Huge="x" * 9000),
        raw_http.post(body, **{f"X_{n}": "y" for n in range(70)}),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    ]
    for request in requests:
        assert server.ask(request).status in (400, 431), request[:80]
    assert server.ask(clone_request()).status == 200
