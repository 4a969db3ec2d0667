"""The nginx configuration that we recommend, in front of the real server."""

import contextlib
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import raw_http
from tests.polling import wait_until
from tests.ports import free_port
from tests.web.fake_server import start_server
from tests.web.fake_synthesizer import CHUNK
from tests.web.nginx_proxy import nginx_proxy


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    server = start_server(
        tmp_path_factory.mktemp("backend"), capacity=10, api_keys="", rate_limit="5 per hour", trusted_proxies=1
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, backend):
    with nginx_proxy(tmp_path_factory.mktemp("nginx"), backend.port) as proxy:
        yield proxy


def speak(text="chunks=3", close=True, **headers):
    if close:
        headers["Connection"] = "close"
    return raw_http.post(raw_http.form(text), **headers)


def test_audio_passes_as_it_is_spoken(proxy):
    with proxy.connect("127.0.0.2") as connection:
        started = time.monotonic()
        connection.sendall(speak("chunks=20 pace=0.1"))
        received = b""
        while len(received) < 44 + len(CHUNK):
            received += connection.recv(65536)
        first = time.monotonic() - started
        received += raw_http.read_to_end(connection)
        total = time.monotonic() - started
    assert raw_http.parse(received).is_complete
    assert first < total / 3


def test_a_torn_stream_stays_torn(proxy):
    answer = proxy.ask(speak("chunks=9 pace=0.1 fail=GenerationFailed after=2"), "127.0.0.3")
    assert answer.status == 200
    assert answer.body[44:] == 2 * CHUNK
    assert not answer.is_complete


def test_a_client_that_disconnects_from_the_proxy_stops_the_generation(proxy, backend):
    ends = len(backend.happened("end"))
    begun = len(backend.happened("begin"))
    with proxy.connect("127.0.0.4") as connection:
        connection.sendall(speak("chunks=600 pace=0.05"))
        wait_until(lambda: len(backend.happened("begin")) > begun)
        assert connection.recv(100)
    wait_until(lambda: len(backend.happened("end")) > ends)
    assert backend.health()["running"] == 0


def test_each_address_has_its_quota_whatever_it_claims(proxy):
    claims = [{"X_Forwarded_For": f"10.0.0.{n}"} for n in range(6)]
    assert [proxy.ask(speak(**claim), "127.0.0.5").status for claim in claims] == [200] * 5 + [429]
    assert proxy.ask(speak(), "127.0.0.6").status == 200


def test_a_slow_upload_waits_in_the_proxy(proxy, backend):
    request = raw_http.post(raw_http.form(sample=bytes(300_000)), Connection="close", X_Request_ID="slow-upload")
    with proxy.connect("127.0.0.7") as connection:
        connection.sendall(request[:-100])
        time.sleep(1.5)
        connection.sendall(request[-100:])
        assert raw_http.parse(raw_http.read_to_end(connection)).is_complete
    [line] = wait_until(lambda: [line for line in backend.log.read_text().splitlines() if "slow-upload" in line])
    assert float(re.search(r" seconds=(\S+)", line)[1]) < 1, "the server did not see it before it was complete"


def test_a_slow_header_is_given_up(proxy, backend):
    with proxy.connect("127.0.0.8") as connection:
        connection.sendall(b"POST /clone-voice HTTP/1.1\r\nX-Request-ID: slow-header\r\nHost: x")
        answer = raw_http.read_to_end(connection)
    assert answer == b"" or b" 408 " in answer
    assert "slow-header" not in backend.log.read_text()


def test_the_limit_is_explained_by_the_server(proxy):
    answer = proxy.ask(raw_http.post(raw_http.form(sample=bytes(11_000_000)), Connection="close"), "127.0.0.9")
    assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status and document["error"]
    return answer.status


def test_a_slow_body_is_given_up_and_never_seen_by_the_server(proxy, backend):
    request = raw_http.post(raw_http.form(sample=bytes(300_000)), Connection="close", X_Request_ID="never-complete")
    with proxy.connect("127.0.0.10") as connection:
        connection.sendall(request[:-100])
        started = time.monotonic()
        answer = raw_http.read_to_end(connection)
    assert answer == b"" or b" 408 " in answer
    assert 1 < time.monotonic() - started < 10
    assert "never-complete" not in backend.log.read_text()


def test_one_address_has_so_many_connections_and_no_more(proxy):
    with contextlib.ExitStack() as open_ones:
        speaking = [open_ones.enter_context(proxy.connect("127.0.0.11")) for _ in range(16)]
        for connection in speaking:
            connection.sendall(raw_http.post(raw_http.form(sample=bytes(300_000)))[:-100])
        refused = proxy.get("/health", "127.0.0.11")
        assert problem(refused) == 429 and int(refused.headers["retry-after"]) >= 1
        assert proxy.get("/health", "127.0.0.12").status == 200


def test_far_too_large_an_upload_is_refused_without_being_read(proxy):
    with proxy.connect("127.0.0.13") as connection:
        connection.sendall(raw_http.post(b"", Content_Length="999999999", Connection="close"))
        assert problem(raw_http.parse(raw_http.read_to_end(connection))) == 413


def test_a_server_that_is_away_is_told_from_one_that_refuses(tmp_path):
    with nginx_proxy(tmp_path, free_port()) as proxy:
        answer = proxy.ask(speak())
        assert problem(answer) == 503 and int(answer.headers["retry-after"]) >= 1


SLOW = {
    "header": b"POST /clone-voice HTTP/1.1\r\nHost: t",
    "body": b"POST /clone-voice HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n--",
    "silent": b"",
    "lingering": b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "lingering, old HTTP": b"GET /health HTTP/1.0\r\nHost: t\r\n\r\n",
    "lingering, refused": raw_http.post(raw_http.form("fail=Busy", sample=bytes(300_000)), Connection="close"),
}


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A server with fewer threads than there will be slow clients, behind nginx with its recommended patience."""
    folder = tmp_path_factory.mktemp("patient")
    server = start_server(folder, capacity=4, rate_limit="1000 per minute", trusted_proxies=1, slots=4, queue=0)
    with nginx_proxy(folder, server.port, patient=True) as proxy:
        yield server, proxy
    server.stop()


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_keep_no_thread_of_the_server(patient, kind):
    server, proxy = patient
    with contextlib.ExitStack() as connections:
        for number in range(100):
            connections.enter_context(proxy.connect(f"127.0.2.{number}")).sendall(SLOW[kind])
        time.sleep(0.5)
        for _ in range(3):
            started = time.monotonic()
            assert server.health()["status"] == "healthy"
            assert proxy.get("/health", "127.0.3.1").status == 200
            assert time.monotonic() - started < 2, "gunicorn waits for a silent client for 5 s"
        assert proxy.ask(speak(), "127.0.3.1").is_complete


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
def test_broken_http_is_explained_and_never_reaches_the_server(proxy, backend, request_, status):
    lines = backend.log.read_text()
    assert problem(proxy.ask(request_, "127.0.0.14")) == status
    assert backend.log.read_text() == lines


def test_a_hundred_clients_at_once(serve, tmp_path):
    """Capacity is used, and everybody else is refused with the time to come back."""
    server = serve(capacity=6, rate_limit="1000 per minute", trusted_proxies=1)
    with nginx_proxy(tmp_path, server.port) as proxy, ThreadPoolExecutor(100) as pool:
        request = raw_http.post(raw_http.form("chunks=50 pace=0.1", sample=bytes(130_000)), Connection="close")
        heard = list(pool.map(lambda number: proxy.ask(request, f"127.0.4.{number}"), range(100)))
    assert sorted(answer.status for answer in heard) == [200] * 6 + [503] * 94
    assert all(answer.is_complete for answer in heard)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in heard if answer.status == 503)
    assert not any(b"The server is away" in answer.body for answer in heard), "refused by the server, not by nginx"


def test_a_restart_under_load_loses_no_request(serve, tmp_path):
    """The procedure of docs/deployment.md: a new server, nginx sent there, and the old one stopped when it is idle."""
    clients, each = 10, 20
    old = serve(capacity=100, trusted_proxies=1, rate_limit="1000 per minute")
    request = speak("chunks=10 pace=0.03")

    def call(number: int) -> list[raw_http.Answer]:
        return [proxy.ask(request, f"127.0.5.{number}") for _ in range(each)]

    with nginx_proxy(tmp_path, old.port) as proxy, ThreadPoolExecutor(clients) as pool:
        heard = [pool.submit(call, number) for number in range(clients)]
        wait_until(lambda: len(old.happened("begin")) >= clients)
        new = serve(capacity=100, trusted_proxies=1, rate_limit="1000 per minute")
        proxy.move_to(new.port)
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(20) == 0
        finished = [answer for future in heard for answer in future.result()]
    assert [(answer.status, answer.is_complete) for answer in finished] == [(200, True)] * clients * each
    served = [len(server.happened("end")) for server in (old, new)]
    assert sum(served) == clients * each and min(served) > 0
