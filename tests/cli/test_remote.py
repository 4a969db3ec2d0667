"""The client of `csm say --url`, against servers that behave in their own ways."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from csm.audio.encoders.wav import streaming_header
from csm.cli.remote import RemoteError, health, stream
from tests.ports import free_port

PCM = bytes(range(256)) * 100


class Handler(BaseHTTPRequestHandler):
    """Answers as `server.behave` does, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self.server.asked = self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))
        self.server.behave(self)

    def do_GET(self) -> None:
        self.server.asked = self.path, self.headers, b""
        self.server.behave(self)

    def log_message(self, *_: object) -> None:
        pass


Behave = Callable[[Handler], None]


def streamed(*pieces: bytes, complete: bool = True) -> Behave:
    def behave(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (*pieces, *([b""] if complete else [])):
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.close_connection = True

    return behave


def answered(status: int, body: bytes = b"", **headers: str) -> Behave:
    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def said(server: Any, **given: Any) -> bytes:
    call: dict[str, Any] = {"key": "secret", "voice": b"\r\n--sound\0", "fields": {"text": "Grüße", "seed": 1}, **given}
    return b"".join(stream(server.url, **call))


def test_the_form_arrives_and_the_sound_comes_back(server: Any) -> None:
    # The header of the WAV ends within a piece, as networks will have it.
    server.behave = streamed(streaming_header(24_000)[:30], streaming_header(24_000)[30:] + PCM[:1001], PCM[1001:])
    assert said(server) == PCM
    path, headers, body = server.asked
    assert path == "/clone-voice" and headers["Authorization"] == "Bearer secret"
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    first, audio, text, seed, last = body.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    assert b'name="audio"; filename="' in audio and audio.endswith(b"\r\n\r\n\r\n--sound\0\r\n")
    assert b'name="text"' in text and text.endswith("\r\n\r\nGrüße\r\n".encode())
    assert b'name="seed"' in seed and seed.endswith(b"\r\n\r\n1\r\n")


def test_without_a_key_none_is_sent(server: Any) -> None:
    server.behave = streamed(streaming_header(24_000), PCM)
    assert said(server, key=None) == PCM
    assert "Authorization" not in server.asked[1]


def test_a_refusal_is_told_in_the_servers_words(server: Any) -> None:
    problem = {"title": "Busy", "detail": "all slots are taken", "error": "busy"}
    server.behave = answered(503, json.dumps(problem).encode(), Retry_After="4")
    with pytest.raises(RemoteError, match=r"answered 503: all slots are taken \(try again in 4 s\)"):
        said(server)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"no"'])
def test_a_refusal_in_other_words_is_told_by_its_status(server: Any, body: bytes) -> None:
    server.behave = answered(502, body)
    with pytest.raises(RemoteError, match="answered 502: Bad Gateway"):
        said(server)


def test_a_redirect_is_not_followed_with_the_key(server: Any) -> None:
    server.behave = answered(301, Location="https://voice.example.com/clone-voice")
    with pytest.raises(RemoteError, match=r"answered 301: use the address https://voice\.example\.com$"):
        said(server)


@pytest.mark.parametrize("pieces", [[streaming_header(24_000), PCM], [streaming_header(24_000)[:20]]])
def test_an_answer_that_breaks_off_is_an_error(server: Any, pieces: list[bytes]) -> None:
    server.behave = streamed(*pieces, complete=False)
    with pytest.raises(RemoteError, match="broke off"):
        said(server)


@pytest.mark.parametrize("body", [b"", b"RIFF", b"Hello" * 100, streaming_header(44_100) + PCM])
def test_something_else_than_our_wav_is_an_error(server: Any, body: bytes) -> None:
    server.behave = answered(200, body)
    with pytest.raises(RemoteError, match="24 kHz"):
        said(server)


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(RemoteError, match="cannot be reached"):
        next(stream(f"http://127.0.0.1:{free_port()}", None, b"", {}))


def test_health_is_read_whatever_the_state(server: Any) -> None:
    server.behave = answered(503, b'{"status": "loading", "model": "demo"}')
    assert health(server.url) == {"status": "loading", "model": "demo"}
    server.behave = answered(200, b'{"status": "healthy", "model": "demo"}')
    assert health(server.url)["status"] == "healthy"


@pytest.mark.parametrize("behave", [answered(404), answered(200, b"[]"), answered(200, b'{"status": "up"}')])
def test_the_health_of_another_server_is_not_taken_for_ours(server: Any, behave: Behave) -> None:
    server.behave = behave
    with pytest.raises(RemoteError, match="not that of this server"):
        health(server.url)
