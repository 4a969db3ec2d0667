import io
import socket
import tempfile

import pytest
from werkzeug.exceptions import ClientDisconnected

from csm.web import forms
from tests import raw_http
from tests.web.requests import KEY


@pytest.fixture
def post(client):
    def send(body, content_type=raw_http.FORM_TYPE, **options):
        return client.post("/clone-voice", data=body, content_type=content_type, headers=KEY, **options)

    return send


END = f"--{raw_http.BOUNDARY}--\r\n".encode()
AUDIO = raw_http.part("audio", b"sound", "a.wav")
TEXT = raw_http.part("text", b"chunks=1")


def test_a_valid_body_is_accepted(post):
    assert post(AUDIO + TEXT + END).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (AUDIO + TEXT, 400, "final boundary"),
        ((AUDIO + TEXT + END)[: len(AUDIO) + 20], 400, "final boundary"),
        (b"nothing like a form", 400, "final boundary"),
        (END, 400, "'text' is missing"),
        (AUDIO + END, 400, "'text' is missing"),
        (TEXT + END, 400, "'audio' is missing"),
        (AUDIO + AUDIO + TEXT + END, 400, "repeated"),
        (AUDIO + TEXT + TEXT + END, 400, "repeated"),
        (AUDIO + TEXT + raw_http.part("text", b"x", "x.txt") + END, 400, "'text' must be a plain field"),
        (raw_http.part("audio", b"sound") + TEXT + END, 400, "'audio' must be a file"),
        (AUDIO + TEXT + raw_http.part("photo", b"x", "x.png") + END, 400, "Files are expected only in"),
        (raw_http.part("audio", b"", "a.wav") + TEXT + END, 400, "empty"),
        (AUDIO + raw_http.part("text", b"caf\xe9") + END, 400, "UTF-8"),
        (AUDIO + TEXT + raw_http.part("x\xe9", b"1") + END, 422, "unknown field"),
        (AUDIO + TEXT.replace(b'"text"', b'"te\xff\xfet"') + END, 400, "malformed"),
        (AUDIO + TEXT.replace(b'; name="text"', b"") + END, 400, "no name"),
        (AUDIO.replace(b'name="audio"; ', b"") + TEXT + END, 400, "no name"),
        (AUDIO + TEXT.replace(b"Content-Disposition", b"X") + END, 400, "malformed"),
        (AUDIO + b"".join(raw_http.part(f"f{n}", b"") for n in range(1001)) + END, 413, "too large"),
        (AUDIO + raw_http.part("text", b"x" * 600_000) + END, 413, "too large"),
        (AUDIO + raw_http.part("audio\0", b"x", "b.wav") + TEXT + END, 400, "Files are expected only in"),
    ],
)
def test_an_invalid_body_is_refused(post, fake, body, status, reason):
    answer = post(body)
    assert answer.status_code == status
    assert reason in answer.json["error"]
    assert not fake.spoken


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\0b.wav", "C:\\x", "", "x" * 5000, "-i http:", "\N{PILE OF POO}"]
)
def test_any_file_name_is_accepted_and_ignored(post, fake, name):
    assert post(raw_http.part("audio", b"sound", name) + TEXT + END).status_code == 200
    assert name == "" or name not in repr(fake.spoken)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=\N{SNOWMAN}", 400),
        ("multipart/form-data; boundary=another", 400),
        ("multipart/mixed; boundary=the-boundary", 415),
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_other_content_types_are_refused(post, content_type, status):
    assert post(AUDIO + TEXT + END, content_type).status_code == status


def test_a_body_over_the_limit_is_refused(make_client):
    client = make_client(max_upload_mb=0.1)
    body = AUDIO + raw_http.part("x", b"y" * 100_000) + TEXT + END
    answer = client.post("/clone-voice", data=body, content_type=raw_http.FORM_TYPE, headers=KEY)
    assert answer.status_code == 413
    assert "0.1 MB" in answer.json["error"]


class Unreadable(io.RawIOBase):
    """A body whose reading fails the test."""

    def readinto(self, _buffer):
        raise AssertionError("the body was read")

    def read(self, _size=-1):
        raise AssertionError("the body was read")


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (KEY, 503)], ids=["without a key", "over capacity"])
def test_the_body_of_a_request_refused_by_its_header_is_not_read(client, fake, headers, status):
    held = [fake.reserve() for _ in range(fake.capacity)]
    overrides = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "300000", "CONTENT_TYPE": raw_http.FORM_TYPE}
    with client.post("/clone-voice", headers=headers, environ_overrides=overrides) as answer:
        assert answer.status_code == status
        assert (answer.headers.get("Retry-After") is not None) == (status == 503)
    assert fake.admission.reserved == len(held)


def test_under_gunicorn_the_rest_of_a_refused_body_is_read_up_to_a_limit(make_client, monkeypatch):
    client = make_client(max_upload_mb=0.1)
    body = io.BytesIO(b"z" * 300_000)
    ours, theirs = socket.socketpair()
    overrides = {"wsgi.input": body, "CONTENT_LENGTH": "300000", "gunicorn.socket": ours}
    options = {"content_type": raw_http.FORM_TYPE, "headers": KEY, "environ_overrides": overrides}
    with ours, theirs:
        client.post("/clone-voice", **options).close()
        assert body.tell() == 300_000
        monkeypatch.setattr(forms, "DRAIN_BYTES", 100_000)
        body.seek(0)
        client.post("/clone-voice", **options).close()
        assert body.tell() == 100_000


def test_large_reference_audio_makes_no_temporary_file(post, monkeypatch, fake):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a temporary file was made")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    audio = bytes(range(256)) * 8000
    assert post(raw_http.part("audio", audio, "a.wav") + TEXT + END).status_code == 200
    assert fake.spoken[0].reference == audio


@pytest.mark.parametrize("error", [OSError("chunk size is none"), ClientDisconnected()])
def test_a_body_that_breaks_off_is_refused(client, error):
    class BrokenOff(io.RawIOBase):
        def read(self, _size=-1):
            raise error

        def readinto(self, _buffer):
            raise error

    overrides = {"wsgi.input": BrokenOff(), "wsgi.input_terminated": True, "CONTENT_TYPE": raw_http.FORM_TYPE}
    answer = client.post("/clone-voice", headers=KEY, environ_overrides=overrides)
    assert answer.status_code == 400
    assert "final boundary" in answer.json["error"]
