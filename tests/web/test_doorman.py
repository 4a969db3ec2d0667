"""What the doorman says is what the application would say, or nothing."""

import json
import logging
import socket
import time

import pytest

from csm.web import lobby
from csm.web.app import doorman_of
from tests.web import raw
from tests.web.conftest import KEY, until

OF_SERVERS = {"connection", "date"}
"""Headers that the application leaves to the server."""

BROKEN = """
from csm.web.doorman import Doorman
from tests.web.served import main
Doorman.meet = lambda *_: 1 / 0
main()
"""


def head(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[0]


def post(**headers: str) -> bytes:
    return head(raw.post(b"", **headers))


@pytest.fixture
def full(make_app, fake):
    fake.running = fake.places
    return make_app(cors_origins="https://app.example")


def test_space_around_a_value_is_no_part_of_it(full):
    answer = raw.parse(doorman_of(full).meet(post(X_Request_ID=" \tmine\t ")))
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize("state", ["healthy", "loading", "draining"])
def test_it_says_what_the_application_would_say(full, fake, state):
    fake.state = state
    answer = raw.parse(doorman_of(full).meet(post(X_Request_ID="mine")))
    other = full.test_client().post("/clone-voice", headers=KEY | {"X-Request-ID": "mine"})
    assert (answer.status, json.loads(answer.body)) == (503, other.json)
    assert answer.headers["connection"] == "close"
    ours = {name: value for name, value in answer.headers.items() if name not in OF_SERVERS}
    assert ours == {name.lower(): value for name, value in other.headers.items() if name != "Vary"}


@pytest.mark.parametrize(
    "request_head",
    [
        head(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"),
        head(b"GET /clone-voice HTTP/1.1\r\nHost: test\r\nX-API-Key: secret\r\n\r\n"),
        post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        post().replace(b"/clone-voice", b"/clone-voice?text=hello"),
        post().replace(b"secret", b"guess"),
        post().replace(b"X-API-Key: secret\r\n", b""),
        post(Origin="https://app.example"),
        post(Transfer_Encoding="chunked"),
        post(Expect="100-continue"),
        post(Content_Length="-1"),
        post().replace(b"\r\nContent-Length: 0", b""),
        post() + b"\r\nX-API-Key: another",
        post() + b"\r\nHost: another",
        post() + b"".join(b"\r\nX-%d: 1" % number for number in range(40)),
        post() + b"\r\n folded",
        post() + b"\r\nno colon",
        post() + b"\r\nX-Space : before the colon",
        post() + b"\r\nX-Control: \x00",
        b"",
    ],
)
def test_it_leaves_to_the_application_what_is_not_plain(full, request_head):
    assert doorman_of(full).meet(request_head) is None


def test_without_keys_everybody_is_known(make_app, fake):
    fake.running = fake.places
    answer = doorman_of(make_app(api_keys="")).meet(post().replace(b"X-API-Key: secret\r\n", b""))
    assert raw.parse(answer).status == 503


def test_it_lets_in_as_many_as_there_are_places(make_app, fake):
    doorman = doorman_of(make_app())
    leave = [doorman.meet(post()) for _ in range(fake.places)]
    assert raw.parse(doorman.meet(post())).status == 503
    leave[0]()
    assert callable(doorman.meet(post()))


def test_the_log_tells_nothing_but_what_it_tells_of_every_request(full, caplog):
    with caplog.at_level(logging.INFO, "csm.web"):
        doorman_of(full).meet(post(X_Request_ID="mine", X_Secret="canary"))
    [line] = caplog.records
    told = {name: value for name, value in line.fields.items() if name != "seconds"}
    assert told == {
        "id": "mine",
        "key": "key-1",
        "method": "POST",
        "route": "/clone-voice",
        "status": 503,
        "outcome": "refused",
        "error": "Busy",
    }


def begin(server) -> socket.socket:
    """A caller whose body does not come."""
    connection = raw.connect(server.port)
    connection.sendall(head(raw.post(b"x" * 1000)) + b"\r\n\r\n")
    return connection


def test_a_body_on_its_way_keeps_a_place_but_not_for_long(serve):
    server = serve(places=1)
    with begin(server):
        # The server takes connections in their order, so this one comes second.
        assert server.ask(raw.post(raw.form())).status == 503
        time.sleep(lobby.SECONDS)
        assert server.ask(raw.post(raw.form())).is_complete
    assert server.ask(raw.post(raw.form())).is_complete


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://app.example"}], ids=["met", "passed by"])
def test_a_body_that_is_none_gives_the_place_back_at_once(serve, headers):
    server = serve(places=1)
    for _ in range(5):
        assert server.ask(raw.post(b"rubbish", **headers)).status == 400
        assert server.ask(raw.post(raw.form(), **headers)).is_complete


def test_a_header_that_gunicorn_refuses_gives_the_place_back_at_once(serve):
    server = serve(places=1)
    for _ in range(3):
        assert server.ask(raw.post(b"", Content_Length="many")).status == 400
        assert server.ask(raw.post(raw.form())).is_complete


def test_a_mistake_in_here_costs_no_stream(serve):
    server = serve(program=("-c", BROKEN))
    assert server.ask(raw.post(raw.form())).is_complete
    assert "could not be judged: builtins.ZeroDivisionError" in server.log.read_text()


def test_a_caller_turned_away_on_a_kept_connection_reads_the_answer(serve):
    server = serve(places=1)
    with raw.connect(server.port) as kept, raw.connect(server.port) as other:
        kept.sendall(raw.post(raw.form(stream="false"), X_Request_ID="first"))
        received = b""
        while b"RIFF" not in received:
            received += kept.recv(65536)
        until(lambda: server.health()["running"] == 0)
        other.sendall(raw.post(raw.form("chunks=50 pace=0.1")))
        assert other.recv(1000)
        kept.sendall(raw.post(raw.form(), X_Request_ID="second"))
        answer = raw.parse(raw.read_to_end(kept))
    assert (answer.status, answer.headers["x-request-id"]) == (503, "second")
    assert answer.is_complete
