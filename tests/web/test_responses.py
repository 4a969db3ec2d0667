import errno
import socket

import pytest
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from csm.audio.encoders import FORMATS
from csm.errors import Cancelled, GenerationFailed
from csm.speech import Notes, Speech
from csm.web import responses
from csm.web.access_log import Access
from csm.web.responses import choose_format, streamed, whole

WAV = FORMATS["wav"]


class Chunks(Speech):
    """A generation that records whether it was closed."""

    def __init__(self, *chunks):
        self.left = list(chunks)
        self.closed = False
        self.notes = Notes("stop", segments=1)

    def __next__(self):
        if not self.left:
            raise StopIteration
        chunk = self.left.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self):
        self.closed = True


@pytest.fixture
def entry():
    return Access("id", "POST", "/clone-voice")


def test_the_first_chunk_is_generated_before_the_answer_begins(entry):
    chunks = Chunks(b"aa", b"bb")
    answer = streamed(chunks, WAV, entry, {})
    assert chunks.left == [b"bb"]
    body = iter(answer.response)
    assert next(body)[44:] == b"aa"
    assert list(body) == [b"bb"]
    answer.close()
    assert (entry.outcome, chunks.closed) == ("ok", True)
    assert entry.noted["audio"] == 4 / 48000


def test_closing_an_answer_that_was_not_read_closes_the_generation(entry):
    chunks = Chunks(b"aa", b"bb")
    streamed(chunks, WAV, entry, {}).close()
    assert (entry.outcome, chunks.closed) == ("disconnected", True)


@pytest.mark.parametrize(
    ("error", "outcome"), [(GenerationFailed("x"), "cut"), (KeyError("x"), "cut"), (Cancelled("x"), "disconnected")]
)
def test_an_error_after_the_first_byte_resets_the_connection(entry, error, outcome):
    chunks = Chunks(b"aa", error)
    answer = streamed(chunks, WAV, entry, {})
    body = iter(answer.response)
    next(body)
    with pytest.raises(ConnectionResetError) as raised:
        next(body)
    assert raised.value.errno == errno.ECONNRESET
    answer.close()
    assert (entry.outcome, chunks.closed) == (outcome, True)


def test_a_generation_that_fails_before_the_first_chunk_is_closed(entry):
    for chunks in (Chunks(Cancelled("x")), Chunks()):
        with pytest.raises((Cancelled, GenerationFailed)):
            streamed(chunks, WAV, entry, {})
        assert chunks.closed


def test_a_generation_that_fails_in_a_whole_answer_is_closed(entry):
    for chunks in (Chunks(b"aa", KeyError()), Chunks()):
        with pytest.raises((KeyError, GenerationFailed)):
            whole(chunks, WAV, entry, {})
        assert chunks.closed


def test_a_whole_answer_is_sent_in_pieces_that_add_up_to_its_length(entry):
    answer = whole(Chunks(bytes(30_000), bytes(20_000)), WAV, entry, {})
    pieces = list(answer.response)
    assert answer.headers["Content-Length"] == str(sum(map(len, pieces))) == str(44 + 50_000)
    assert max(map(len, pieces)) <= 16_384
    answer.close()
    assert (entry.outcome, entry.noted["audio"]) == ("ok", 50_000 / 48_000)


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that tests move forward."""
    now = [0.0]
    monkeypatch.setattr("csm.web.responses.time.monotonic", lambda: now[0])
    return now


SECOND = bytes(48_000)


def test_a_client_that_reads_as_fast_as_the_audio_plays_is_served_to_the_end(entry, clock):
    for _ in streamed(Chunks(*[SECOND] * 100), WAV, entry, {}).response:
        clock[0] += 1.1
    assert entry.outcome == "ok"


def test_a_slow_generation_does_not_count_as_a_slow_client(entry, clock):
    class Slow(Chunks):
        def __next__(self):
            clock[0] += 60
            return super().__next__()

    assert len(list(streamed(Slow(*[SECOND] * 5), WAV, entry, {}).response)) == 5


@pytest.mark.parametrize("answer", [streamed, whole])
def test_a_client_that_reads_more_slowly_than_the_audio_plays_is_cut_off(entry, clock, answer):
    chunks, received = Chunks(*[SECOND] * 100), 0
    made = answer(chunks, WAV, entry, {})
    with pytest.raises(ConnectionResetError):
        for piece in made.response:
            clock[0] += 10
            received += len(piece)
    made.close()
    assert (entry.outcome, chunks.closed) == ("slow", True)
    assert clock[0] <= 50 and received < 6 * len(SECOND)


def test_every_large_answer_must_be_read_in_time(client, monkeypatch):
    monkeypatch.setattr(responses, "ANSWER_SECONDS", 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {"gunicorn.socket": ours}
        answer = client.get("/static/vendor/swagger-ui/swagger-ui-bundle.js", environ_overrides=environ)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)[0] == responses.WRITE_SECONDS
        # The body has not been read, so the answer goes on.
        assert theirs.recv(10) == b""
        answer.close()


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_that_is_cut_is_not_finished(entry, name):
    loud = b"\x00\x20\x00\xe0" * 4800
    cut = streamed(Chunks(loud, loud, KeyError()), FORMATS[name], entry, {})
    received = b""
    with pytest.raises(ConnectionResetError):
        for piece in cut.iter_encoded():
            received += piece
    complete = streamed(Chunks(loud, loud), FORMATS[name], entry, {}).get_data()
    assert complete.startswith(received)
    if name in ("mp3", "opus", "aac"):  # these end with what the encoder still holds
        assert len(received) < len(complete)


def test_output_that_comes_late_begins_the_answer(entry):
    # AAC needs two frames of 1,024 samples before the first is complete.
    chunks = Chunks(bytes(2000), bytes(2000), bytes(2000))
    body = list(streamed(chunks, FORMATS["aac"], entry, {}).response)
    assert all(body)
    assert entry.noted["audio"] == pytest.approx(6000 / 48000)


@pytest.mark.parametrize("answer", [streamed, whole])
@pytest.mark.parametrize("name", FORMATS)
def test_the_log_has_the_length_of_the_audio_in_any_format(entry, answer, name):
    chunks = Chunks(bytes(9600), bytes(9602))
    list(answer(chunks, FORMATS[name], entry, {}).response)
    assert (entry.noted["audio"], entry.outcome) == (pytest.approx(19202 / 48000), "ok")


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", "wav"),
        ("*/*", "wav"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "wav"),
        ("audio/*", "wav"),
        ("audio/webm,audio/*;q=0.9", "wav"),
        ("audio/mpeg", "mp3"),
        ("Audio/MPEG; q=0.5", "mp3"),
        ("audio/ogg; codecs=opus", "opus"),
        ("application/json, audio/aac;q=0.1", "aac"),
        ("audio/mpeg;q=0.4, audio/x-flac;q=0.6", "flac"),
        ("audio/mpeg;q=0, */*", "wav"),
        ("audio/pcm", "pcm"),
        ("audio/mpeg;q=high;;,=", "wav"),
    ],
)
def test_accept_counts_where_it_names_a_format(accept, name):
    assert choose_format(None, parse_accept_header(accept, MIMEAccept)).name == name
    assert choose_format("flac", parse_accept_header(accept, MIMEAccept)).name == "flac"
