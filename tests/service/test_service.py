"""The whole service as clients see it: real sockets, gunicorn and the demo model."""

import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests import raw_http
from tests.corpus.ffmpeg import RECORDINGS
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, RealServer, clone_request, real_server
from tests.reference_audio import TRANSCRIPT, synthetic_speech

CAPACITY = 10
FRAMES = 20
OTHER = synthetic_speech(seconds=2)
"""Reference audio of another voice than the example's."""


WORDS = ("Garden", "River", "Window", "Mother", "Silver", "Table", "Paper", "Doctor", "Summer", "Bridge")


def fields(number: int) -> dict[str, str]:
    return {
        "text": f"{WORDS[number]} is the word that this client wants to hear.",
        "transcript": TRANSCRIPT,
        "temperature": "2",
        "seed": str(1000 + number),
        "max_seconds": str(FRAMES * 0.08),
    }


def request(number: int) -> bytes:
    return clone_request(**fields(number))


def begin(server: RealServer) -> socket.socket:
    """Send a long request."""
    connection = raw_http.connect(server.port, 120)
    connection.sendall(clone_request(**LONG_FIELDS))
    return connection


def first_audio(connection: socket.socket) -> bytes:
    """Return the answer so far, as soon as it has audio."""
    received = b""
    while len(received) < 2000:
        data = connection.recv(65536)
        assert data, received
        received += data
    assert received.startswith(b"HTTP/1.1 200"), received[:200]
    return received


def test_ten_clients_at_once_each_get_what_they_get_alone(server: RealServer) -> None:
    alone = [server.ask(request(number)) for number in range(CAPACITY)]
    with ThreadPoolExecutor(CAPACITY) as pool:
        together = list(pool.map(lambda number: server.ask(request(number)), range(CAPACITY)))
    assert [answer.status for answer in together] == [200] * CAPACITY
    # Rounding differs with the size of the batch: it changes the last bit of samples, and very rarely a code.
    distance = [[difference(one, other) for other in alone] for one in together]
    own = [distance[number][number] for number in range(CAPACITY)]
    assert sorted(own)[-2] <= 1
    for number, row in enumerate(distance):
        assert min(row[:number] + row[number + 1 :]) > 100


def difference(one: raw_http.Answer, other: raw_http.Answer) -> int:
    """Return the largest difference between two samples of the same position, that of full scale for two lengths."""
    first, second = (np.frombuffer(answer.body[44:], "<i2").astype(int) for answer in (one, other))
    assert min(len(first), len(second)) > FRAMES * 1920 / 2  # silence at the beginning is left out
    return int(np.abs(first - second).max()) if len(first) == len(second) else 65535


def test_a_request_over_capacity_is_refused_while_the_others_run(server: RealServer) -> None:
    clients = [begin(server) for _ in range(CAPACITY)]
    try:
        wait_until(lambda: [server.health()[name] for name in ("running", "waiting")] == [2, CAPACITY - 2], 60)
        answer = server.ask(request(0))
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        health = server.health()
        assert (health["status"], health["running"], health["waiting"]) == ("healthy", 2, CAPACITY - 2)
    finally:
        for client in clients:
            client.close()
    server.await_idle()


def test_audio_is_sent_during_the_generation_and_a_disconnect_ends_it(server: RealServer) -> None:
    with begin(server) as connection:
        received = first_audio(connection)
        assert server.health()["running"] == 1
    header = raw_http.parse(received).body
    assert struct.unpack_from("<4sI4s", header) == (b"RIFF", 0xFFFFFFFF, b"WAVE")
    server.await_idle()


def test_a_client_that_disconnects_in_the_queue_frees_its_capacity(server: RealServer) -> None:
    clients = [begin(server) for _ in range(3)]
    wait_until(lambda: server.health()["waiting"] == 1, 30)
    for client in clients:
        client.close()
    server.await_idle()


def test_an_answer_that_is_not_streamed_has_its_length_and_the_same_samples(server: RealServer) -> None:
    streamed, whole = server.ask(request(1)), server.ask(clone_request(**fields(1), stream="false"))
    assert streamed.headers["transfer-encoding"] == "chunked" and "content-length" not in streamed.headers
    assert int(whole.headers["content-length"]) == len(whole.body)
    assert struct.unpack_from("<4sI4s", whole.body) == (b"RIFF", len(whole.body) - 8, b"WAVE")
    assert whole.body[44:] == streamed.body[44:] and len(whole.body) > 44 + 1920 * FRAMES


def test_seed_text_sampling_and_voice_change_the_audio(server: RealServer) -> None:
    forms = [{}, {"text": "Another text."}, {"seed": "7"}, {"temperature": "0.5"}, {"top_k": "1"}]
    answers = [server.ask(clone_request(**(fields(1) | form))).body for form in forms]
    answers.append(server.ask(clone_request(OTHER, **fields(1))).body)
    assert len(set(answers)) == len(answers)
    assert server.ask(request(1)).body == answers[0]


@pytest.mark.parametrize("name", ["chromium.mp4", "chromium-video.webm"])
def test_recordings_of_browsers_are_accepted(server: RealServer, name: str) -> None:
    answer = server.ask(clone_request((RECORDINGS / name).read_bytes(), "blob", **fields(0)))
    assert (answer.status, answer.is_complete) == (200, True)
    assert np.frombuffer(answer.body[44:], "<i2").any()


@pytest.mark.parametrize(("audio", "status"), [(b"", 400), (b"Words, not sound.", 415), (OTHER[:8000], 422)])
def test_files_that_are_no_speech_are_refused(server: RealServer, audio: bytes, status: int) -> None:
    answer = server.ask(clone_request(audio, "voice.wav"))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
def test_sigterm_finishes_a_running_request_and_accepts_no_new_one(tmp_path: Path) -> None:
    with real_server(tmp_path) as server, raw_http.connect(server.port, 120) as connection:
        # Long enough to be running still when SIGTERM comes.
        spoken = clone_request(text="word " * 60, seed="3", max_seconds="6")
        connection.sendall(spoken.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1))
        received = first_audio(connection)
        assert server.health()["running"] == 1
        server.process.send_signal(signal.SIGTERM)
        received += raw_http.read_to_end(connection)
        answer = raw_http.parse(received)
        assert answer.status == 200 and answer.is_complete
        assert server.process.wait(30) == 0
        assert not server.health()
