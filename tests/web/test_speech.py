"""POST /v1/audio/speech through Flask's test client; `tests/service/test_openai_clients.py` has real clients."""

import base64
import json

import pytest

from csm.audio.encoders import FORMATS
from tests.web.fake_synthesizer import CHUNK
from tests.web.requests import KEY

AUDIO = base64.b64encode(b"sound").decode()


@pytest.fixture
def speak(client):
    def send(text="chunks=3", headers=None, **fields):
        body = {"model": "tts-1", "input": text, "ref_audio": AUDIO, **fields}
        body = {name: value for name, value in body.items() if value is not ...}
        return client.post("/v1/audio/speech", json=body, headers=KEY | (headers or {}))

    return send


def events(answer):
    """Return the events of an answer."""
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    found = [(block[0].removeprefix("event: "), json.loads(block[1].removeprefix("data: "))) for block in blocks]
    assert all(name == data["type"] for name, data in found)
    return [data for _, data in found]


def test_the_answer_is_mp3_unless_another_format_is_asked_for(speak):
    assert speak().mimetype == "audio/mpeg"
    assert speak(headers={"Accept": "application/octet-stream"}).mimetype == "audio/mpeg"
    assert speak(headers={"Accept": "audio/flac"}).mimetype == "audio/flac"
    for name, fmt in FORMATS.items():
        answer = speak(response_format=name)
        assert (answer.status_code, answer.mimetype) == (200, fmt.media_type)
    assert speak(response_format="pcm").data == 3 * CHUNK


def test_reference_audio_and_options_reach_the_synthesizer(speak, fake):
    speak("chunks=1 hello", ref_text="the words", seed=7, temperature=0.5, top_k=9, max_seconds=3, speed=2)
    [said] = fake.spoken
    assert (said.reference, said.transcript, said.text) == (b"sound", "the words", "chunks=1 hello")
    assert (said.seed, said.temperature, said.top_k, said.max_seconds, said.speed) == (7, 0.5, 9, 3, 2)
    assert said.stream


@pytest.mark.parametrize("voice", ["default", " default ", {"id": "default"}])
def test_a_stored_voice_is_named_by_a_text_or_an_id(speak, fake, voice):
    assert speak(voice=voice, ref_audio=...).status_code == 200
    [said] = fake.spoken
    assert (said.voice, said.reference) == ("default", None) and said.owner.startswith("sha256:")


def test_with_reference_audio_the_voice_is_not_used(speak, fake):
    assert speak(voice="alloy").status_code == 200
    assert (fake.spoken[0].voice, fake.spoken[0].reference) == (None, b"sound")


def test_an_unknown_voice_is_not_found(speak):
    answer = speak(voice="nobody", ref_audio=...)
    assert answer.status_code == 404
    assert (answer.json["error"]["code"], answer.json["error"]["param"]) == ("unknown_voice", "voice")


@pytest.mark.parametrize("model", ["fake", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"])
def test_the_names_of_the_model_are_accepted(speak, client, model):
    assert speak(model=model).status_code == 200
    assert client.get(f"/v1/models/{model}", headers=KEY).json["id"] == model
    assert model in [found["id"] for found in client.get("/v1/models", headers=KEY).json["data"]]


def test_another_model_is_not_found(speak, client, fake):
    for answer in (speak(model="tts-2"), client.get("/v1/models/tts-2", headers=KEY)):
        assert answer.status_code == 404
        assert answer.json["error"]["code"] == "model_not_found" and answer.json["error"]["param"] == "model"
        assert "tts-2" not in answer.text
    assert not fake.spoken


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"model": ...}, "model", "missing"),
        ({"input": ...}, "input", "missing"),
        ({"input": ""}, "input", "1 to 10000 characters"),
        ({"ref_audio": ...}, "voice", "missing"),
        ({"ref_audio": ..., "voice": ""}, "voice", "missing"),
        ({"ref_audio": "https://example.com/a.wav"}, "ref_audio", "not fetched"),
        ({"ref_audio": "file:///etc/passwd"}, "ref_audio", "not fetched"),
        ({"voice": {"name": "alloy"}}, "voice", "the name or the id"),
        ({"voice": ["alloy"]}, "voice", "the name or the id"),
        ({"response_format": "ogg"}, "response_format", "wav, mp3, opus, aac, flac, pcm"),
        ({"speed": 0.25}, "speed", "0.5 to 2: this server has a narrower range than OpenAI"),
        ({"speed": 4}, "speed", "0.5 to 2"),
        ({"stream_format": "chunks"}, "stream_format", "audio, sse"),
        ({"instructions": "whisper"}, "instructions", "would speak them"),
        ({"temperature": "0.9"}, "temperature", "a number from 0 to 2"),
        ({"consent": False}, "consent", "must be true"),
        ({"langauge": "en"}, None, "unknown field"),
    ],
)
def test_an_invalid_field_is_a_bad_request_that_names_it(speak, fake, fields, param, reason):
    answer = speak(**fields)
    assert answer.status_code == 400
    error = answer.json["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert reason in error["message"]
    assert not fake.spoken


def test_blank_instructions_are_ignored(speak):
    assert speak(instructions="").status_code == speak(instructions=None).status_code == 200


@pytest.mark.parametrize(("content_type", "status"), [("text/plain", 415), ("multipart/form-data", 415), ("", 415)])
def test_another_content_type_is_refused(client, content_type, status):
    answer = client.post("/v1/audio/speech", data=b"{}", content_type=content_type, headers=KEY)
    assert answer.status_code == status and "application/json" in answer.json["error"]["message"]


def test_a_body_over_the_limit_is_refused(make_client):
    client = make_client(max_upload_mb=0.1)
    answer = client.post("/v1/audio/speech", json={"ref_audio": "A" * 200_000}, headers=KEY)
    assert answer.status_code == 413 and "0.1 MB" in answer.json["error"]["message"]


def test_consent_is_required_where_configured(make_client):
    client = make_client(require_consent=True)
    body = {"model": "tts-1", "input": "chunks=1", "ref_audio": AUDIO}
    assert client.post("/v1/audio/speech", json=body, headers=KEY).json["error"]["param"] == "consent"
    assert client.post("/v1/audio/speech", json=body | {"consent": True}, headers=KEY).status_code == 200


def test_refused_consent_is_refused_with_a_stored_voice_too(speak):
    assert speak(voice="default", ref_audio=..., consent=False).json["error"]["param"] == "consent"


def test_events_have_the_audio_and_end_with_the_usage(speak):
    answer = speak("chunks=4", stream_format="sse", response_format="pcm")
    assert answer.mimetype == "text/event-stream" and "Content-Disposition" not in answer.headers
    *deltas, done = events(answer)
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == 4 * CHUNK
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    # Four chunks of 40 ms are two frames.
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 8, "output_tokens": 2, "total_tokens": 10},
    }


def test_an_error_before_the_audio_has_its_status_and_no_event(speak):
    answer = speak("fail=Busy", stream_format="sse")
    assert (answer.status_code, answer.mimetype) == (503, "application/json")
    assert answer.headers["Retry-After"] and answer.json["error"]["code"] == "busy"


@pytest.mark.parametrize(
    ("fail", "message"), [("DeadlineExceeded", "a message for the client"), ("Unforeseen", "Something went wrong")]
)
def test_events_tell_an_error_after_the_audio_began_and_are_cut_off(client, fail, message):
    body = {"model": "tts-1", "input": f"fail={fail} after=1", "ref_audio": AUDIO, "stream_format": "sse"}
    body["response_format"] = "pcm"
    answer = client.post("/v1/audio/speech", json=body, headers=KEY, buffered=False)
    received = b""
    with pytest.raises(ConnectionResetError):
        for piece in answer.response:
            received += piece
    last = json.loads(received.decode().strip().rpartition("data: ")[2])
    assert last["type"] == "speech.audio.error" and message in last["error"]["message"]
    assert "CANARY" not in received.decode()
    answer.close()


def test_requests_count_against_the_same_quotas_as_clone_voice(make_client):
    client = make_client(rate_limit="1 per minute")
    body = {"model": "tts-1", "input": "chunks=1", "ref_audio": AUDIO}
    assert client.post("/v1/audio/speech", json=body, headers=KEY).status_code == 200
    answer = client.post("/v1/audio/speech", json=body, headers=KEY)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
    assert answer.json["error"]["code"] == "rate_limit_exceeded"
