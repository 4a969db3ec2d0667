import io
import struct
import wave
from urllib.parse import unquote

import pytest

from csm.audio.decode import decode
from csm.audio.encoders import FORMATS
from tests.web.fake_synthesizer import CHUNK
from tests.web.requests import KEY, clone_form


def test_the_answer_is_a_streamed_wav_of_unknown_length(client, fake):
    answer = client.post("/clone-voice", data=clone_form(transcript=" hello "), headers=KEY)
    assert answer.status_code == 200
    assert answer.content_type == "audio/wav"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="voice-clone.wav"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in answer.headers
    assert answer.data[:4] == b"RIFF" and answer.data[44:] == 3 * CHUNK
    assert struct.unpack("<I", answer.data[40:44]) == (0xFFFFFFFF,)
    assert fake.spoken[0].reference == b"sound"
    assert fake.spoken[0].transcript == "hello"
    assert fake.events() == ["begin", "end"]


def test_an_answer_that_is_not_streamed_has_exact_sizes(client):
    answer = client.post("/clone-voice", data=clone_form(stream="false"), headers=KEY)
    assert int(answer.headers["Content-Length"]) == len(answer.data) == 44 + 3 * len(CHUNK)
    with wave.open(io.BytesIO(answer.data)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24000)
        assert sound.readframes(10**9) == 3 * CHUNK


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("Busy", 503),
        ("NotReady", 503),
        ("ModelUnavailable", 503),
        ("UndecodableAudio", 415),
        ("UnusableReference", 422),
        ("InvalidRequest", 422),
        ("DeadlineExceeded", 504),
        ("GenerationFailed", 500),
        ("Cancelled", 499),
        ("Unforeseen", 500),
    ],
)
def test_an_error_before_the_first_audio_has_its_status(client, fake, error, status, stream):
    answer = client.post("/clone-voice", data=clone_form(f"fail={error}", stream=stream), headers=KEY)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert ("Retry-After" in answer.headers) == (error in ("Busy", "NotReady"))
    assert fake.events() == ["begin", "end"]
    assert fake.running == 0


def test_an_error_after_the_first_audio_has_its_status_when_not_streamed(client):
    answer = client.post("/clone-voice", data=clone_form("fail=DeadlineExceeded after=2", stream="false"), headers=KEY)
    assert answer.status_code == 504


def test_a_generation_without_audio_is_an_internal_error(client):
    for stream in ("true", "false"):
        answer = client.post("/clone-voice", data=clone_form("chunks=0", stream=stream), headers=KEY)
        assert answer.status_code == 500
        assert "no audio" in answer.json["error"]


def test_a_request_over_capacity_is_told_when_to_retry(client, fake):
    held = [fake.reserve() for _ in range(fake.capacity)]
    answer = client.post("/clone-voice", data=clone_form(), headers=KEY)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
    assert fake.admission.reserved == len(held)


def test_consent_is_required_where_configured(make_client):
    strict, lenient = make_client(require_consent=True), make_client()
    assert strict.post("/clone-voice", data=clone_form(), headers=KEY).status_code == 422
    assert strict.post("/clone-voice", data=clone_form(consent="false"), headers=KEY).json["field"] == "consent"
    assert strict.post("/clone-voice", data=clone_form(consent="true"), headers=KEY).status_code == 200
    assert lenient.post("/clone-voice", data=clone_form(), headers=KEY).status_code == 200
    assert lenient.post("/clone-voice", data=clone_form(consent="no"), headers=KEY).status_code == 422


def test_fields_in_the_query_string_are_refused(client, fake):
    answer = client.post("/clone-voice?temperature=1", data=clone_form(), headers=KEY)
    assert answer.status_code == 422
    assert not fake.spoken


def test_other_methods_are_not_allowed(client):
    answer = client.get("/clone-voice", headers=KEY)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_whole_answer_tells_how_it_ended(client):
    answer = client.post("/clone-voice", data=clone_form("chunks=2 finish=length", stream="false"), headers=KEY)
    assert answer.headers["X-Finish-Reason"] == "length"
    streamed = client.post("/clone-voice", data=clone_form("chunks=2 finish=length"), headers=KEY)
    assert "X-Finish-Reason" not in streamed.headers


def test_an_answer_tells_where_the_transcript_comes_from_and_a_text_that_is_not_english(client):
    answer = client.post("/clone-voice", data=clone_form(), headers=KEY)
    assert answer.headers["X-Transcript-Source"] == "none" and "X-Text-Language" not in answer.headers
    answer = client.post("/clone-voice", data=clone_form("Guten Tag"), headers=KEY)
    assert answer.headers["X-Text-Language"] == "de"


def test_an_answer_has_the_words_that_were_recognised(client):
    def told(words):
        answer = client.post("/clone-voice", data=clone_form(f"recognized={words}"), headers=KEY)
        return answer.headers.get("X-Transcript")

    assert told("It's_a_test.") == "It's a test."
    assert unquote(told("100%_naïve_—_你好")) == "100% naïve — 你好"
    assert told("é" * 400) is None, "too long for a header"
    assert told("") is None


@pytest.mark.parametrize(("speed", "status"), [("0.5", 200), ("2", 200), ("0.4", 422), ("2.1", 422), ("fast", 422)])
def test_speed(client, fake, speed, status):
    assert client.post("/clone-voice", data=clone_form(speed=speed), headers=KEY).status_code == status
    assert [said.speed for said in fake.spoken] == ([float(speed)] if status == 200 else [])


def test_an_answer_tells_what_should_be_better_about_the_reference_audio(client):
    answer = client.post("/clone-voice", data=clone_form("warn=short"), headers=KEY)
    assert answer.headers["X-Reference-Warnings"] == "short: a sentence; noisy: another"
    assert "X-Reference-Warnings" not in client.post("/clone-voice", data=clone_form(), headers=KEY).headers


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_the_answer_has_the_format_that_is_asked_for(client, fmt, stream):
    answer = client.post("/clone-voice", data=clone_form("chunks=10", format=fmt.name, stream=stream), headers=KEY)
    assert answer.status_code == 200 and answer.content_type == fmt.media_type
    assert answer.headers["Content-Disposition"] == f'attachment; filename="voice-clone{fmt.suffix}"'
    assert ("Content-Length" in answer.headers) == (stream == "false")
    if fmt.name == "pcm":
        assert answer.data == 10 * CHUNK
    else:
        assert decode(answer.data, 5.0).seconds == pytest.approx(10 * 0.04, abs=0.13)


def test_the_field_format_takes_precedence_over_accept(client):
    headers = {**KEY, "Accept": "audio/mpeg"}
    assert client.post("/clone-voice", data=clone_form(), headers=headers).content_type == "audio/mpeg"
    answer = client.post("/clone-voice", data=clone_form(format="flac"), headers=headers)
    assert answer.content_type == "audio/flac"


@pytest.mark.parametrize("name", ["ogg", "MP3", "../mp3", "audio/mpeg", "m4a"])
def test_an_unknown_format_is_refused_with_the_known_ones(client, fake, name):
    answer = client.post("/clone-voice", data=clone_form(format=name), headers=KEY)
    assert (answer.status_code, answer.json["field"]) == (422, "format")
    assert "wav, mp3, opus, aac, flac, pcm" in answer.json["detail"] and not fake.spoken
