"""The real nginx with `deploy/nginx.conf`, in front of the real HTTP server."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import process_probes, raw_http
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port
from tests.web.fake_server import FakeServer, start_server
from tests.web.fake_synthesizer import CHUNK
from tests.web.nginx_proxy import NginxProxy, nginx_proxy

Serve = Callable[..., FakeServer]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    folder = tmp_path_factory.mktemp("backend")
    server = start_server(
        folder,
        capacity=10,
        api_keys="",
        allow_anonymous=True,
        rate_limit="5 per hour",
        trusted_proxies=1,
        metrics_key="for-prometheus",
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, backend: FakeServer) -> Iterator[NginxProxy]:
    with nginx_proxy(tmp_path_factory.mktemp("nginx"), backend.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: NginxProxy, backend: FakeServer) -> NginxProxy:
    """nginx with short time limits; the quota is by address, so each test has an address of its own."""
    backend.forget()
    return shared_proxy


def clone_request(text: str = "chunks=3", audio: bytes = b"sound", **headers: str) -> bytes:
    return raw_http.post(raw_http.form(text, audio), Connection="close", **headers)


def test_audio_passes_before_the_rest_is_generated(proxy: NginxProxy, backend: FakeServer) -> None:
    with proxy.connect("127.0.0.2") as connection:
        connection.sendall(clone_request("chunks=20 hold=1"))
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 44 + len(CHUNK):
            received += connection.recv(65536)
        assert not backend.happened("end")
        backend.release()
        received += raw_http.read_to_end(connection)
    answer = raw_http.parse(received)
    assert answer.is_complete and answer.body[44:] == 20 * CHUNK


def test_a_stream_that_breaks_off_does_not_look_complete(proxy: NginxProxy) -> None:
    answer = proxy.ask(clone_request("chunks=9 pace=0.1 fail=GenerationFailed after=2"), "127.0.0.3")
    assert answer.status == 200
    assert answer.body[44:] == 2 * CHUNK
    assert not answer.is_complete


def test_a_client_that_disconnects_from_the_proxy_stops_the_generation(proxy: NginxProxy, backend: FakeServer) -> None:
    with proxy.connect("127.0.0.4") as connection:
        connection.sendall(clone_request("chunks=600 hold=1"))
        wait_until(lambda: backend.happened("begin"))
        assert connection.recv(100)
    wait_until(lambda: backend.happened("end"))
    assert backend.health()["running"] == 0


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "/metrics?x=1", "//metrics", "/%6detrics", "/x/../metrics", "/./metrics"]
)
def test_the_metrics_are_not_passed_on_even_with_their_key(proxy: NginxProxy, backend: FakeServer, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: t\r\nX-API-Key: for-prometheus\r\nConnection: close\r\n\r\n".encode()
    assert backend.ask(b"GET /metrics HTTP/1.1\r\nHost: t\r\nX-API-Key: for-prometheus\r\n\r\n").status == 200
    answer = proxy.ask(request, "127.0.0.6")
    assert answer.status == 404
    assert b"csm_" not in answer.raw


def test_each_address_has_its_quota_whatever_it_claims_to_be(proxy: NginxProxy) -> None:
    claims = [{"X_Forwarded_For": f"10.0.0.{n}"} for n in range(6)]
    assert [proxy.ask(clone_request("chunks=3", b"sound", **claim), "127.0.0.5").status for claim in claims] == [
        200
    ] * 5 + [429]
    assert proxy.ask(clone_request(), "127.0.0.6").status == 200


def test_a_slow_upload_waits_in_the_proxy(proxy: NginxProxy, backend: FakeServer) -> None:
    request = clone_request(audio=bytes(300_000))
    with proxy.connect("127.0.0.7") as connection:
        connection.sendall(request[:-100])
        # nginx answers the second client after it has read what the first one sent.
        assert proxy.ask(clone_request(), "127.0.0.15").is_complete
        assert backend.health()["waiting"] == 0 and len(backend.happened("begin")) == 1
        connection.sendall(request[-100:])
        assert raw_http.parse(raw_http.read_to_end(connection)).is_complete
    assert len(backend.happened("begin")) == 2


@pytest.mark.parametrize(
    "beginning",
    [
        b"POST /clone-voice HTTP/1.1\r\nX-Request-ID: incomplete\r\nHost: x",
        clone_request(audio=bytes(300_000), X_Request_ID="incomplete")[:-100],
    ],
    ids=["header", "body"],
)
def test_a_request_that_is_not_finished_in_time_never_reaches_the_server(
    proxy: NginxProxy, backend: FakeServer, beginning: bytes
) -> None:
    with proxy.connect("127.0.0.8") as connection:
        connection.sendall(beginning)
        answer = raw_http.read_to_end(connection)
    assert answer == b"" or b" 408 " in answer
    assert "incomplete" not in backend.log.read_text()


def test_an_upload_a_little_too_large_is_refused_by_the_server(proxy: NginxProxy) -> None:
    answer = proxy.ask(clone_request(audio=bytes(11_000_000)), "127.0.0.9")
    assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")


def problem_status(answer: raw_http.Answer) -> int:
    """Return the status of a problem document that nginx makes."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status and document["error"]
    return answer.status


def test_one_address_may_open_sixteen_connections(proxy: NginxProxy) -> None:
    unfinished = raw_http.post(raw_http.form(audio=bytes(300_000)))[:-100]
    with contextlib.ExitStack() as connections:
        for _ in range(16):
            connections.enter_context(proxy.connect("127.0.0.11")).sendall(unfinished)
        refused = proxy.get("/health", "127.0.0.11")
        assert problem_status(refused) == 429 and int(refused.headers["retry-after"]) >= 1
        assert proxy.get("/health", "127.0.0.12").status == 200


def test_an_upload_far_too_large_is_refused_without_being_read(proxy: NginxProxy) -> None:
    with proxy.connect("127.0.0.13") as connection:
        connection.sendall(raw_http.post(b"", Content_Length="999999999", Connection="close"))
        # Not to the end: nginx waits for the client to close.
        received = connection.recv(65536)
        while not raw_http.parse(received).is_complete:
            received += connection.recv(65536)
    assert problem_status(raw_http.parse(received)) == 413


def test_a_server_that_is_down_is_a_503(tmp_path: Path) -> None:
    with nginx_proxy(tmp_path, free_port()) as proxy:
        answer = proxy.ask(clone_request())
        assert problem_status(answer) == 503 and int(answer.headers["retry-after"]) >= 1


def test_an_answer_that_is_not_read_waits_in_the_memory_of_the_proxy(proxy: NginxProxy, backend: FakeServer) -> None:
    body = raw_http.form("chunks=3000", stream="false")
    with proxy.connect("127.0.0.16") as connection:
        connection.sendall(raw_http.post(body, Connection="close", X_Request_ID="not-read"))
        [line] = backend.log_lines("not-read")
        assert "outcome=ok" in line
        assert "temporary file" not in (proxy.folder / "error.log").read_text()
        assert raw_http.parse(raw_http.read_to_end(connection)).is_complete


def test_browsers_are_told_to_use_tls_from_then_on(proxy: NginxProxy) -> None:
    assert "max-age" in proxy.get("/health", "127.0.0.17").headers["strict-transport-security"]


SLOW_CLIENTS = {
    "header": b"POST /clone-voice HTTP/1.1\r\nHost: t",
    "body": raw_http.post(b"--", Content_Length="1000000"),
    "silent": b"",
    "lingering": b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "lingering, HTTP/1.0": b"GET /health HTTP/1.0\r\nHost: t\r\n\r\n",
    "lingering, refused": clone_request("fail=Busy", bytes(300_000)),
}
KEPT_OPEN = int(re.findall(r"keepalive (\d+);", (ROOT / "deploy/nginx.conf").read_text())[0])
"""Idle connections that nginx keeps to the server; they hold no thread of it."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeServer, NginxProxy]]:
    """A server with fewer threads than there will be slow clients, behind nginx with its recommended time limits."""
    folder = tmp_path_factory.mktemp("patient")
    server = start_server(folder, capacity=4, rate_limit="1000 per minute", trusted_proxies=1, slots=4, queue=0)
    with nginx_proxy(folder, server.port, patient=True) as proxy:
        yield server, proxy
    server.stop()


@pytest.mark.parametrize("kind", SLOW_CLIENTS)
def test_slow_clients_hold_no_connection_to_the_server(patient: tuple[FakeServer, NginxProxy], kind: str) -> None:
    server, proxy = patient
    with contextlib.ExitStack() as connections:
        for number in range(100):
            connections.enter_context(proxy.connect(f"127.0.2.{number}")).sendall(SLOW_CLIENTS[kind])
        assert proxy.get("/health", "127.0.3.1").status == 200
        wait_until(lambda: process_probes.connections_to(server.port) <= KEPT_OPEN)
        wait_until(lambda: server.is_idle)
        assert proxy.ask(clone_request(), "127.0.3.1").is_complete


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 414),
        (b"TRACE / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 405),
        (raw_http.post(b"x", Content_Length="many", Connection="close"), 400),
        (raw_http.post(b"x", Transfer_Encoding="chunked", Connection="close"), 400),
    ],
    ids=["no HTTP", "header", "address", "method", "length", "length and chunks"],
)
def test_broken_http_gets_a_problem_document_and_never_reaches_the_server(
    proxy: NginxProxy, backend: FakeServer, request_: bytes, status: int
) -> None:
    lines = backend.log.read_text()
    assert problem_status(proxy.ask(request_, "127.0.0.14")) == status
    assert backend.log.read_text() == lines


def test_of_a_hundred_clients_at_once_those_over_capacity_get_503(serve: Serve, tmp_path: Path) -> None:
    server = serve(capacity=6, rate_limit="1000 per minute", trusted_proxies=1)
    request = clone_request("hold=1", bytes(130_000))
    with nginx_proxy(tmp_path, server.port) as proxy, ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(proxy.ask, request, f"127.0.4.{number}") for number in range(100)]
        wait_until(lambda: sum(answer.done() for answer in answers) == 94, 60)
        server.release()
        heard = [answer.result() for answer in answers]
    assert sorted(answer.status for answer in heard) == [200] * 6 + [503] * 94
    assert all(answer.is_complete for answer in heard)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in heard if answer.status == 503)
    assert not any(b"The server is away" in answer.body for answer in heard), "refused by the server, not by nginx"


def test_speech_of_a_worker_that_dies_before_the_first_audio_is_generated_by_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(trusted_proxies=1)
    with nginx_proxy(tmp_path, server.port) as proxy, ThreadPoolExecutor(1) as pool:
        # nginx sends requests again only if it had kept the connection open.
        assert proxy.get("/health").status == 200
        answer = pool.submit(proxy.ask, clone_request("chunks=3 hold=0"))
        wait_until(lambda: server.happened("begin"))
        os.kill(server.worker_pid, signal.SIGKILL)
        wait_until(lambda: len(server.happened("begin")) == 2)
        server.release()
        assert answer.result().is_complete and answer.result().body[44:] == 3 * CHUNK


@pytest.mark.slow
def test_a_restart_under_load_loses_no_request(serve: Serve, tmp_path: Path) -> None:
    """The procedure of docs/deployment.md: start a new server, send nginx there, stop the old one."""
    clients, each = 10, 20
    old = serve(capacity=100, trusted_proxies=1, rate_limit="1000 per minute")
    request = clone_request("chunks=10 pace=0.03")

    def call(proxy: NginxProxy, number: int) -> list[raw_http.Answer]:
        return [proxy.ask(request, f"127.0.5.{number}") for _ in range(each)]

    with nginx_proxy(tmp_path, old.port) as proxy, ThreadPoolExecutor(clients) as pool:
        heard = [pool.submit(call, proxy, number) for number in range(clients)]
        wait_until(lambda: len(old.happened("begin")) >= clients)
        new = serve(capacity=100, trusted_proxies=1, rate_limit="1000 per minute")
        proxy.move_to(new.port)
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(60) == 0
        finished = [answer for future in heard for answer in future.result()]
    assert [(answer.status, answer.is_complete) for answer in finished] == [(200, True)] * clients * each
    served = [len(server.happened("end")) for server in (old, new)]
    assert sum(served) == clients * each and min(served) > 0
