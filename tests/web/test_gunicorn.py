"""The server as it runs: stock gunicorn on a real socket, around a fake voice."""

import contextlib
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from csm.web import forms, responses
from tests.web import raw
from tests.web.conftest import answers, until
from tests.web.fakes import CHUNK

HEADER = 44


def speak(text="chunks=3", **fields):
    return raw.post(raw.form(text, **fields))


def worker_pid(server):
    """Of the latest worker; the port listens before the first one is there."""
    return int(until(lambda: re.findall(r"Booting worker with pid: (\d+)", server.log.read_text()))[-1])


def test_first_audio_long_before_the_end(server):
    with raw.connect(server.port) as connection:
        started = time.monotonic()
        connection.sendall(speak("chunks=20 pace=0.1"))
        received = b""
        while len(received) < HEADER + len(CHUNK):
            received += connection.recv(65536)
        first = time.monotonic() - started
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
        total = time.monotonic() - started
    assert first < total / 3
    assert raw.parse(received).body[HEADER:] == 20 * CHUNK


def test_exact_length_and_a_connection_that_is_kept(server):
    with raw.connect(server.port) as connection:
        for _ in range(3):
            connection.sendall(speak(stream="false"))
            received = b""
            while not received.endswith(3 * CHUNK):
                received += connection.recv(65536)
            answer = raw.parse(received)
            assert answer.is_complete
            assert answer.headers["connection"] == "keep-alive"
            assert "transfer-encoding" not in answer.headers


def test_a_stream_that_fails_is_torn_and_never_ended_cleanly(server):
    answer = server.ask(speak("chunks=9 fail=GenerationFailed after=2"))
    assert answer.status == 200
    assert answer.body[HEADER:] == 2 * CHUNK
    assert not answer.is_complete
    assert b"\r\n0\r\n" not in answer.raw
    assert server.ask(speak()).is_complete
    assert server.health()["running"] == 0


def test_for_old_http_a_torn_stream_ends_with_a_reset(server):
    with raw.connect(server.port) as connection, pytest.raises(ConnectionResetError):
        connection.sendall(raw.post(raw.form("chunks=9 pace=0.05 fail=GenerationFailed after=2"), version="1.0"))
        while connection.recv(65536):
            pass
    whole = server.ask(raw.post(raw.form("chunks=3"), version="1.0"))
    assert "transfer-encoding" not in whole.headers
    assert whole.body[HEADER:] == 3 * CHUNK


@pytest.mark.parametrize(
    ("text", "read_first"), [("chunks=1 pace=30", False), ("chunks=600 pace=0.05", True)], ids=["before", "after"]
)
def test_a_client_that_disconnects_stops_the_generation(server, text, read_first):
    with raw.connect(server.port) as connection:
        connection.sendall(speak(text))
        until(lambda: server.happened("begin"))
        if read_first:
            assert connection.recv(1000)
        assert server.health()["running"] == 1
        left = time.monotonic()
    [end] = until(lambda: server.happened("end"), 5)
    assert end["at"] - left < 1
    until(lambda: server.health()["running"] == 0)
    assert "outcome=disconnected" in server.log.read_text()


def test_a_client_that_waits_or_pipelines_is_not_disconnected(server):
    with raw.connect(server.port) as connection:
        connection.sendall(speak("chunks=2 pace=0.5", stream="false") + speak(stream="false"))
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 or not received.endswith(3 * CHUNK):
            data = connection.recv(65536)
            assert data
            received += data
    assert not server.happened("disconnected")


def test_ten_callers_at_once_each_hear_their_own(server):
    marks = range(1, 11)
    with ThreadPoolExecutor(10) as pool:
        heard = list(pool.map(lambda mark: server.ask(speak(f"chunks=20 pace=0.02 mark={mark}")), marks))
    for mark, answer in zip(marks, heard, strict=True):
        assert answer.is_complete
        assert set(answer.body[HEADER:]) == {mark}
        assert len(answer.body) == HEADER + 20 * len(CHUNK)


def test_requests_over_capacity_are_refused(serve):
    server = serve(capacity=3)
    with ThreadPoolExecutor(20) as pool:
        heard = list(pool.map(lambda _: server.ask(speak("chunks=40 pace=0.1")), range(20)))
    served = [answer for answer in heard if answer.status == 200]
    refused = [answer for answer in heard if answer.status == 503]
    assert (len(served), len(refused)) == (3, 17)
    assert all(answer.is_complete for answer in heard)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(server.happened("end")) == 3


def begin(server):
    """A request whose body does not come."""
    connection = raw.connect(server.port)
    connection.sendall(raw.post(b"x" * 1000)[:-1000])
    return connection


def test_a_body_on_its_way_holds_capacity_and_a_client_that_gives_up_frees_it(serve):
    server = serve(capacity=1)
    with begin(server):
        until(lambda: server.health()["waiting"] == 1)
        assert server.ask(speak()).status == 503
    until(lambda: server.is_idle)
    assert server.ask(speak()).is_complete


def test_a_refused_body_frees_the_capacity(serve):
    server = serve(capacity=1)
    for _ in range(5):
        assert server.ask(raw.post(b"rubbish")).status == 400
        assert server.ask(speak()).is_complete


@pytest.mark.slow
def test_an_upload_that_is_not_finished_in_time_is_refused_and_frees_the_capacity(serve):
    server = serve(capacity=1)
    with begin(server) as connection:
        connection.settimeout(2 * forms.BODY_SECONDS)
        until(lambda: server.health()["waiting"] == 1)
        received = b""
        while b"did not arrive" not in received:
            data = connection.recv(65536)
            assert data, received
            received += data
        assert received.startswith(b"HTTP/1.1 400")
        assert server.ask(speak()).is_complete


def test_the_answer_to_a_body_too_large_is_read_by_those_who_send_all_of_it_first(server):
    for key, status in (("secret", 413), ("wrong", 401)):
        answer = server.ask(raw.post(raw.form(sample=bytes(20_000_000)), X_API_Key=key))
        assert (answer.status, answer.is_complete) == (status, True)


def test_a_chunked_body_without_length_is_bounded_too(server):
    body = raw.form(sample=bytes(3_000_000))
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:9], body[9:])) + b"0\r\n\r\n"
    request = raw.post(b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"") + pieces
    assert server.ask(request).status == 413
    small = raw.form()
    pieces = b"%x\r\n%s\r\n0\r\n\r\n" % (len(small), small)
    request = raw.post(b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"") + pieces
    assert server.ask(request).status == 200


def test_a_header_in_pieces(server):
    with raw.connect(server.port) as connection:
        for piece in (b"GET /hea", b"lth HTTP/1.1\r", b"\nHost: t\r\n\r", b"\nGET /health/live HTTP/1.1\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(0.05)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 2:
            data = connection.recv(65536)
            assert data, received
            received += data


@pytest.mark.slow
def test_a_body_that_trickles_is_given_up(server):
    with raw.connect(server.port, 90) as connection:
        connection.sendall(raw.post(b"", Content_Length="1000", Connection="close"))
        connection.settimeout(1)
        received = b""
        deadline = time.monotonic() + 75
        while not received and time.monotonic() < deadline:
            connection.sendall(b"-")
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue
        received += raw.read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 400")
    assert b"did not arrive" in received


@pytest.mark.slow
def test_a_client_that_does_not_read_is_cut_off(server):
    with raw.connect(server.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(speak("chunks=100000"))
        until(lambda: server.happened("end"), 5 * responses.WRITE_SECONDS)
    assert server.health()["running"] == 0


def test_sigterm_lets_answers_finish_and_is_told_on_kept_connections(serve):
    server = serve(capacity=5)
    with ThreadPoolExecutor(5) as pool, raw.connect(server.port) as kept:
        kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        running = [pool.submit(server.ask, speak("chunks=30 pace=0.1")) for _ in range(5)]
        until(lambda: len(server.happened("begin")) == 5)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.happened("drain"))
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        health = raw.parse(raw.read_to_end(kept))
        assert (health.status, health.headers["connection"]) == (503, "close")
        assert b'"draining"' in health.body
        assert all(answer.result().is_complete for answer in running)
    assert server.process.wait(10) == 0
    assert server.events()[-1]["event"] == "close"
    assert not answers(server.port)


SHORT_OF_TIME = """
from csm import server
from tests.web.served import main
options = server.gunicorn_options
server.gunicorn_options = lambda settings: options(settings) | {"graceful_timeout": 2}
main()
"""


def test_an_answer_that_takes_too_long_does_not_delay_the_end_for_ever(serve):
    server = serve(program=("-c", SHORT_OF_TIME))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, speak("chunks=600 pace=0.1"))
        until(lambda: server.happened("begin"))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert not running.result().is_complete


@pytest.mark.parametrize("torn", [0, 3])
def test_nothing_to_finish_ends_at_once(serve, torn):
    """Torn streams must not confuse the count of connections that the end waits for."""
    server = serve()
    for _ in range(torn):
        assert not server.ask(speak("fail=GenerationFailed after=1")).is_complete
    idle = raw.connect(server.port)
    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(server.ask, speak("chunks=15 pace=0.1"))] if torn else []
        until(lambda: not torn or server.health()["running"] == 1)
        server.process.send_signal(signal.SIGTERM)
        assert all(answer.result().is_complete for answer in running)
    assert server.process.wait(8) == 0
    idle.close()


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGQUIT], [signal.SIGTERM, signal.SIGINT]])
def test_sigint_ends_it_at_once(serve, signals):
    server = serve()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, speak("chunks=600 pace=0.1"))
        until(lambda: server.happened("begin"))
        for number in signals:
            server.process.send_signal(number)
            time.sleep(0.3)
        server.process.wait(8)
        assert not running.result().is_complete
    assert not answers(server.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_does_not_depend_on_what_a_signal_interrupts(serve, number):
    """Connections that come all the time keep the worker's main loop busy with its locks."""
    server = serve()
    over = threading.Event()

    def come():
        while not over.is_set():
            with contextlib.suppress(OSError):
                server.get("/health/live")

    with ThreadPoolExecutor(20) as pool:
        for _ in range(20):
            pool.submit(come)
        until(lambda: server.health())
        server.process.send_signal(number)
        try:
            server.process.wait(10)
        finally:
            over.set()


def test_a_killed_worker_is_replaced(serve):
    server = serve()
    pid = worker_pid(server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, speak("chunks=600 pace=0.1"))
        until(lambda: server.happened("begin"))
        os.kill(pid, signal.SIGKILL)
        assert not running.result().is_complete
    until(lambda: worker_pid(server) != pid)
    assert server.ask(speak()).is_complete


def test_a_lost_device_gets_a_new_process(serve):
    server = serve()
    pid = worker_pid(server)
    server.ask(speak("restart=1 fail=GenerationFailed"))
    until(lambda: worker_pid(server) != pid)
    assert "exited with code 70" in server.log.read_text()
    until(lambda: server.ask(speak()).is_complete)


@pytest.mark.parametrize("body", [b"", b"anything"])
def test_smuggled_and_broken_requests(server, body):
    requests = [
        raw.post(body, Transfer_Encoding="chunked"),
        raw.post(body, Content_Length="-1"),
        raw.post(body, Content_Length="1, 1"),
        raw.post(body, X_Huge="x" * 9000),
        raw.post(body, **{f"X_{n}": "y" for n in range(70)}),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    ]
    for request in requests:
        assert server.ask(request).status in (400, 431), request[:80]
    assert server.ask(speak()).status == 200
