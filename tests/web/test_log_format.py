"""CSM_LOG_FORMAT=json: whatever happens, each line of the log is a JSON object, and a request's lines have its id."""

import json
import signal
from collections.abc import Callable
from typing import Any

from tests import raw_http
from tests.polling import wait_until
from tests.raw_http import clone_request
from tests.web.fake_server import FakeServer
from tests.web.test_privacy import requests

Serve = Callable[..., FakeServer]


def lines(server: FakeServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def lines_of(server: FakeServer, request_id: str) -> list[dict[str, Any]]:
    """Wait for the access line of a request, and return all lines with its id."""
    server.log_lines(f'"message": "request", "id": "{request_id}"')
    return [line for line in lines(server) if line.get("id") == request_id]


def test_every_line_is_json_and_a_request_has_one_with_typed_fields(serve: Serve) -> None:
    server = serve(log_format="json")
    for request in requests():
        server.ask(request)
    server.ask(raw_http.post(raw_http.form("chunks=5 finish=length", audio=b"12345"), X_Request_ID="find-me"))
    [line] = lines_of(server, "find-me")
    times = {name: line.pop(name) for name in ("time", "seconds", "first_audio")}
    assert times["time"].endswith("Z") and 0 <= times["first_audio"] <= times["seconds"]
    assert line == {
        "level": "INFO",
        "logger": "csm.web",
        "message": "request",
        "id": "find-me",
        "key": "key-1",
        "method": "POST",
        "route": "/clone-voice",
        "status": 200,
        "outcome": "ok",
        "reference_bytes": 5,
        "text_chars": 22,
        "format": "wav",
        "audio": 0.2,
        "finish": "length",
        "segments": 1,
        "retries": 0,
        "language": "en",
        "underruns": 0,
    }
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    assert {line["logger"] for line in lines(server)} == {"csm.web", "gunicorn.error"}
    assert "CANARY" not in server.log.read_text()


def test_all_lines_of_a_request_have_its_id(serve: Serve) -> None:
    server = serve(log_format="json")
    server.ask(clone_request("fail=Unforeseen").replace(b"Host:", b"X-Request-ID: early\r\nHost:", 1))
    server.ask(clone_request("fail=Unforeseen after=1").replace(b"Host:", b"X-Request-ID: late\r\nHost:", 1))
    early, late = lines_of(server, "early"), lines_of(server, "late")
    assert [line["message"].split(":")[0] for line in early] == ["request failed", "request"]
    assert [line["message"].split(":")[0] for line in late] == ["stream cut", "request"]
    assert (early[-1]["outcome"], late[-1]["outcome"]) == ("failed", "cut")
    assert (late[-1]["segments"], late[-1]["language"]) == (1, "en")


def test_a_thread_does_not_keep_the_id_of_its_last_request(serve: Serve) -> None:
    server = serve(log_format="json")
    server.get("/health")
    server.ask(b"GET / HTTP/9\r\n\r\n")
    [invalid] = wait_until(lambda: [line for line in lines(server) if line["message"].startswith("Invalid request")])
    assert "id" not in invalid
