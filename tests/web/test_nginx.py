"""The nginx configuration that we recommend, in front of the real server."""

import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass

import pytest

from tests.web import raw
from tests.web.conftest import ROOT, answers, free_port, start, until
from tests.web.fakes import CHUNK

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


@dataclass
class Proxy:
    port: int
    trust: ssl.SSLContext

    def connect(self, address="127.0.0.1"):
        plain = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(address, 0))
        return self.trust.wrap_socket(plain, server_hostname="localhost")

    def ask(self, request, address="127.0.0.1"):
        with self.connect(address) as connection:
            connection.sendall(request)
            return raw.parse(raw.read_to_end(connection))


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    server = start(
        tmp_path_factory.mktemp("backend"), places=10, api_keys="", rate_limit="5 per hour", trusted_proxies=1
    )
    yield server
    server.stop()


@contextlib.contextmanager
def nginx(folder, backend_port):
    """Our configuration in front of a port, with less patience."""
    files = ["-keyout", folder / "key", "-out", folder / "crt"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(certificate, check=True, capture_output=True)
    port = free_port()
    site = (ROOT / "deploy/nginx.conf").read_text()
    for recommended, here in {
        "127.0.0.1:5000": f"127.0.0.1:{backend_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/csm.crt": str(folder / "crt"),
        "/etc/nginx/csm.key": str(folder / "key"),
        "client_header_timeout 10s": "client_header_timeout 1s",
        "client_body_timeout 10s": "client_body_timeout 2s",
    }.items():
        assert site.count(recommended) == 1
        site = site.replace(recommended, here)
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log warn; events {{}}"
        f" http {{ access_log off; {temporary} include {folder}/site.conf; }}"
    )
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"])
    until(lambda: answers(port) or process.poll() is not None)
    assert process.poll() is None, (folder / "error.log").read_text()
    yield Proxy(port, ssl.create_default_context(cafile=str(folder / "crt")))
    process.terminate()
    process.wait(10)
    log = (folder / "error.log").read_text()
    assert "buffered to a temporary file" not in log


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, backend):
    with nginx(tmp_path_factory.mktemp("nginx"), backend.port) as proxy:
        yield proxy


def speak(text="chunks=3", close=True, **headers):
    if close:
        headers["Connection"] = "close"
    return raw.post(raw.form(text), **headers)


def test_audio_passes_as_it_is_spoken(proxy):
    with proxy.connect("127.0.0.2") as connection:
        started = time.monotonic()
        connection.sendall(speak("chunks=20 pace=0.1"))
        received = b""
        while len(received) < 44 + len(CHUNK):
            received += connection.recv(65536)
        first = time.monotonic() - started
        received += raw.read_to_end(connection)
        total = time.monotonic() - started
    assert raw.parse(received).is_complete
    assert first < total / 3


def test_a_torn_stream_stays_torn(proxy):
    answer = proxy.ask(speak("chunks=9 pace=0.1 fail=GenerationFailed after=2"), "127.0.0.3")
    assert answer.status == 200
    assert answer.body[44:] == 2 * CHUNK
    assert not answer.is_complete


def test_a_caller_who_hangs_up_is_gone_behind_the_proxy_too(proxy, backend):
    ends = len(backend.happened("end"))
    begun = len(backend.happened("begin"))
    with proxy.connect("127.0.0.4") as connection:
        connection.sendall(speak("chunks=600 pace=0.05"))
        until(lambda: len(backend.happened("begin")) > begun)
        assert connection.recv(100)
    until(lambda: len(backend.happened("end")) > ends)
    assert backend.health()["running"] == 0


def test_each_address_has_its_quota_whatever_it_claims(proxy):
    claims = [{"X_Forwarded_For": f"10.0.0.{n}"} for n in range(6)]
    assert [proxy.ask(speak(**claim), "127.0.0.5").status for claim in claims] == [200] * 5 + [429]
    assert proxy.ask(speak(), "127.0.0.6").status == 200


def test_a_slow_upload_waits_in_the_proxy(proxy, backend):
    request = raw.post(raw.form(sample=bytes(300_000)), Connection="close", X_Request_ID="slow-upload")
    with proxy.connect("127.0.0.7") as connection:
        connection.sendall(request[:-100])
        time.sleep(1.5)
        connection.sendall(request[-100:])
        assert raw.parse(raw.read_to_end(connection)).is_complete
    [line] = until(lambda: [line for line in backend.log.read_text().splitlines() if "slow-upload" in line])
    assert float(re.search(r" seconds=(\S+)", line)[1]) < 1, "the server did not see it before it was complete"


def test_a_slow_header_is_given_up(proxy, backend):
    with proxy.connect("127.0.0.8") as connection:
        connection.sendall(b"POST /clone-voice HTTP/1.1\r\nX-Request-ID: slow-header\r\nHost: x")
        answer = raw.read_to_end(connection)
    assert answer == b"" or b" 408 " in answer
    assert "slow-header" not in backend.log.read_text()


def test_the_limit_is_explained_by_the_server(proxy):
    answer = proxy.ask(raw.post(raw.form(sample=bytes(11_000_000)), Connection="close"), "127.0.0.9")
    assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status and document["error"]
    return answer.status


def test_a_slow_body_is_given_up_and_never_seen_by_the_server(proxy, backend):
    request = raw.post(raw.form(sample=bytes(300_000)), Connection="close", X_Request_ID="never-complete")
    with proxy.connect("127.0.0.10") as connection:
        connection.sendall(request[:-100])
        started = time.monotonic()
        answer = raw.read_to_end(connection)
    assert answer == b"" or b" 408 " in answer
    assert 1 < time.monotonic() - started < 10
    assert "never-complete" not in backend.log.read_text()


def test_one_address_has_so_many_connections_and_no_more(proxy):
    with contextlib.ExitStack() as open_ones:
        speaking = [open_ones.enter_context(proxy.connect("127.0.0.11")) for _ in range(16)]
        for connection in speaking:
            connection.sendall(raw.post(raw.form(sample=bytes(300_000)))[:-100])
        refused = proxy.ask(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "127.0.0.11")
        assert problem(refused) == 429 and int(refused.headers["retry-after"]) >= 1
        other = proxy.ask(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "127.0.0.12")
        assert other.status == 200


def test_far_too_large_an_upload_is_refused_without_being_read(proxy):
    with proxy.connect("127.0.0.13") as connection:
        connection.sendall(raw.post(b"", Content_Length="999999999", Connection="close"))
        assert problem(raw.parse(raw.read_to_end(connection))) == 413


def test_a_server_that_is_away_is_told_from_one_that_refuses(tmp_path):
    with nginx(tmp_path, free_port()) as proxy:
        answer = proxy.ask(speak())
        assert problem(answer) == 503 and int(answer.headers["retry-after"]) >= 1
