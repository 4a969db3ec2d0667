"""The whole service as its callers meet it: real sockets, gunicorn, and the demo model."""

import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests import raw_http
from tests.corpus.ffmpeg import RECORDINGS
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, RealServer, clone_request, real_server
from tests.reference_audio import synthetic_speech

PLACES = 10
OTHER = synthetic_speech(seconds=2)
"""Another voice than the example's."""


def fields(number: int) -> dict[str, str]:
    return {"text": f"This is caller number {number}.", "seed": str(1000 + number), "max_seconds": "0.4"}


def request(number: int) -> bytes:
    return clone_request(**fields(number))


def begin(server: RealServer) -> socket.socket:
    """A long request, sent but not yet read."""
    connection = raw_http.connect(server.port, 120)
    connection.sendall(clone_request(**LONG_FIELDS))
    return connection


def first_sound(connection: socket.socket) -> bytes:
    """The answer so far, as soon as there is a piece of sound in it."""
    received = b""
    while len(received) < 2000:
        data = connection.recv(65536)
        assert data, received
        received += data
    assert received.startswith(b"HTTP/1.1 200"), received[:200]
    return received


def test_ten_parallel_callers_each_hear_what_they_would_hear_alone(server: RealServer) -> None:
    alone = [server.ask(request(number)) for number in range(PLACES)]
    with ThreadPoolExecutor(PLACES) as pool:
        together = list(pool.map(lambda number: server.ask(request(number)), range(PLACES)))
    assert [answer.status for answer in together] == [200] * PLACES
    # The rounding of another batch size reaches the last bit of the samples, and once in very many draws a code.
    distance = [[difference(one, other) for other in alone] for one in together]
    own = [distance[number][number] for number in range(PLACES)]
    assert sorted(own)[-2] <= 1
    for number, row in enumerate(distance):
        assert min(row[:number] + row[number + 1 :]) > 100


def difference(one: raw_http.Answer, other: raw_http.Answer) -> int:
    """Largest between two samples at the same place; the lengths must agree."""
    first, second = (np.frombuffer(answer.body[44:], "<i2").astype(int) for answer in (one, other))
    assert len(first) == len(second) == 5 * 1920
    return int(np.abs(first - second).max())


def test_one_more_than_there_are_places_is_turned_away_at_once(server: RealServer) -> None:
    callers = [begin(server) for _ in range(PLACES)]
    try:
        wait_until(lambda: [server.health()[name] for name in ("running", "waiting")] == [2, PLACES - 2], 60)
        started = time.monotonic()
        answer = server.ask(request(0))
        assert time.monotonic() - started < 5
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        assert server.health()["status"] == "healthy" and server.health()["running"] == 2
    finally:
        for caller in callers:
            caller.close()
    server.await_idle(30)


def test_sound_leaves_while_the_rest_is_still_being_made_and_a_hang_up_ends_it(server: RealServer) -> None:
    with begin(server) as connection:
        received = first_sound(connection)
        assert server.health()["running"] == 1
    header = raw_http.parse(received).body
    assert struct.unpack_from("<4sI4s", header) == (b"RIFF", 0xFFFFFFFF, b"WAVE")
    # The text takes over a minute to say; what leaves at once is a frame or two.
    assert len(received) < 48_000 * 10
    server.await_idle(10)


def test_a_caller_who_leaves_the_queue_frees_the_place(server: RealServer) -> None:
    callers = [begin(server) for _ in range(3)]
    wait_until(lambda: server.health()["waiting"] == 1, 30)
    for caller in callers:
        caller.close()
    server.await_idle(10)


def test_a_whole_answer_has_its_length_and_the_same_samples(server: RealServer) -> None:
    streamed, whole = server.ask(request(1)), server.ask(clone_request(**fields(1), stream="false"))
    assert streamed.headers["transfer-encoding"] == "chunked" and "content-length" not in streamed.headers
    assert int(whole.headers["content-length"]) == len(whole.body)
    assert struct.unpack_from("<4sI4s", whole.body) == (b"RIFF", len(whole.body) - 8, b"WAVE")
    assert whole.body[44:] == streamed.body[44:] and len(whole.body) == 44 + 2 * 1920 * 5


def test_seeds_and_texts_and_voices_make_a_difference(server: RealServer) -> None:
    forms = [{}, {"text": "Another text."}, {"seed": "7"}, {"temperature": "2"}, {"top_k": "2051"}]
    answers = [server.ask(clone_request(**(fields(1) | form))).body for form in forms]
    answers.append(server.ask(clone_request(OTHER, **fields(1))).body)
    assert len(set(answers)) == len(answers)
    assert all(len(answer) == len(answers[0]) for answer in answers)
    assert server.ask(request(1)).body == answers[0]


@pytest.mark.parametrize("name", ["chromium.mp4", "chromium-video.webm"])
def test_what_browsers_record_is_spoken_after(server: RealServer, name: str) -> None:
    answer = server.ask(clone_request((RECORDINGS / name).read_bytes(), "blob"))
    assert (answer.status, answer.is_complete) == (200, True)
    assert np.frombuffer(answer.body[44:], "<i2").any()


@pytest.mark.parametrize(("sample", "status"), [(b"", 400), (b"Words, not sound.", 415), (OTHER[:8000], 422)])
def test_what_is_no_speech_is_refused_with_a_reason(server: RealServer, sample: bytes, status: int) -> None:
    answer = server.ask(clone_request(sample, "voice.wav"))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_sigterm_lets_a_request_in_flight_finish_and_takes_no_new_one(tmp_path: Path) -> None:
    with real_server(tmp_path) as server, raw_http.connect(server.port, 120) as connection:
        # Long enough to be told apart from one that was over anyway, short enough to wait for.
        spoken = clone_request(text="word " * 60, seed="3", max_seconds="6")
        connection.sendall(spoken.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1))
        received = first_sound(connection)
        assert server.health()["running"] == 1
        server.process.send_signal(signal.SIGTERM)
        received += raw_http.read_to_end(connection)
        answer = raw_http.parse(received)
        assert answer.status == 200 and answer.is_complete
        assert server.process.wait(30) == 0
        assert not server.health()
