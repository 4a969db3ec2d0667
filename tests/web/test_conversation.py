"""POST /conversation over a fake synthesizer: its bodies, its answers, and what it refuses."""

import base64
import hashlib
import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from csm.speech import DialogueTurn, VoiceSource
from tests.web.fake_synthesizer import CHUNK, FakeSynthesizer
from tests.web.requests import KEY

SCRIPT = "Ann: chunks=1\nBob: chunks=2\n\nAnn: chunks=1\n"
VOICES = {"Ann": "default", "Bob": {"voice": "bob"}}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def post(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/conversation", json=body, headers=KEY, buffered=True)


def post_form(client: FlaskClient, **parts: Any) -> TestResponse:
    """Send a form; bytes are files, and what is not text is sent as JSON."""

    def part(value: Any) -> Any:
        if isinstance(value, bytes):
            return io.BytesIO(value), "some.wav"
        return value if isinstance(value, str) else json.dumps(value)

    data = {name: part(value) for name, value in parts.items()}
    return client.post("/conversation", data=data, content_type="multipart/form-data", headers=KEY, buffered=True)


def lines(answer: TestResponse) -> list[dict[str, Any]]:
    assert answer.mimetype == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_all_turns_of_a_script_are_one_answer(client: FlaskClient, fake: FakeSynthesizer) -> None:
    answer = post(client, script=SCRIPT, voices=VOICES, format="pcm", seed=5, speed=1.5, max_seconds=9.0)
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "audio/pcm", 4 * CHUNK)
    [dialogue] = fake.conversed
    assert dialogue.turns == [DialogueTurn(n, f"chunks={count}") for n, count in ((0, 1), (1, 2), (0, 1))]
    assert dialogue.voices == {0: VoiceSource(voice="default"), 1: VoiceSource(voice="bob")}
    assert (dialogue.seed, dialogue.speed, dialogue.max_seconds) == (5, 1.5, 9.0)
    assert dialogue.owner == f"sha256:{hashlib.sha256(b'secret').hexdigest()}"


def test_turns_may_have_audio_and_voices_may_be_reference_audio(client: FlaskClient, fake: FakeSynthesizer) -> None:
    turns = [
        {"speaker": "user", "text": "A question?", "audio": encoded(b"question")},
        {"speaker": "agent", "text": "An answer."},
        {"speaker": "user", "audio": encoded(b"laughter")},
        {"speaker": "narrator", "text": "The end.", "voice": "calm"},
    ]
    voices = {"agent": {"audio": encoded(b"reference"), "transcript": "I am an agent."}}
    assert post(client, turns=turns, voices=voices).status_code == 200
    [dialogue] = fake.conversed
    assert dialogue.turns == [
        DialogueTurn(0, "A question?", b"question"),
        DialogueTurn(1, "An answer."),
        DialogueTurn(0, None, b"laughter"),
        DialogueTurn(2, "The end."),
    ]
    assert dialogue.voices == {1: VoiceSource(b"reference", None, "I am an agent."), 2: VoiceSource(voice="calm")}


def test_a_form_names_its_files(client: FlaskClient, fake: FakeSynthesizer) -> None:
    turns = [{"speaker": "me", "text": "Hm?", "audio": "question"}, {"speaker": "bot", "text": "Yes."}]
    voices = {"bot": {"audio": "reference", "transcript": "I am."}}
    answer = post_form(client, turns=turns, voices=voices, question=b"hm", reference=b"i am", stream="false")
    assert answer.status_code == 200 and answer.content_length == len(answer.data)
    [dialogue] = fake.conversed
    assert dialogue.turns[0].audio == b"hm" and dialogue.voices == {1: VoiceSource(b"i am", None, "I am.")}
    assert not dialogue.stream


def test_in_a_form_the_name_of_a_file_is_enough_for_a_voice(client: FlaskClient, fake: FakeSynthesizer) -> None:
    answer = post_form(client, script=SCRIPT, voices={"Ann": "ann", "Bob": "default"}, ann=b"i am ann")
    assert answer.status_code == 200
    assert fake.conversed[0].voices == {0: VoiceSource(b"i am ann"), 1: VoiceSource(voice="default")}


@pytest.mark.parametrize("fmt", ["wav", "mp3", "pcm"])
def test_parts_are_a_file_for_each_turn_that_is_spoken(fmt: str, client: FlaskClient) -> None:
    turns = [{"speaker": "Eve", "audio": encoded(b"hm")}, *({"speaker": "Ann", "text": "chunks=2"} for _ in range(2))]
    found = lines(post(client, turns=turns, voices={"Ann": "default"}, parts=True, format=fmt))
    assert found[-1] == {"finish_reason": "stop"}
    assert [line["turn"] for line in found if line.get("done")] == [1, 2]
    files = {1: b"", 2: b""}
    for line in found:
        if "audio" in line:
            files[line["turn"]] += base64.b64decode(line["audio"])
    assert files[1] == files[2] and len(files[1]) > 200
    whole = post(client, script="Ann: chunks=2", voices={"Ann": "default"}, format=fmt).data
    assert files[1] == whole
    assert [line["turn"] for line in found[:-1]] == sorted(line["turn"] for line in found[:-1])


def test_an_error_within_parts_is_the_last_line(client: FlaskClient) -> None:
    for fail in ("GenerationFailed", "RuntimeError"):
        body = {"script": f"Ann: chunks=3 fail={fail} after=2", "voices": {"Ann": "default"}, "parts": True}
        answer = client.post("/conversation", json=body, headers=KEY)
        found = []
        with pytest.raises(ConnectionResetError):
            for data in answer.response:
                found.append(json.loads(data))
        assert [line.get("turn") for line in found] == [0, 0, None]
        assert found[-1]["error"] and "CANARY" not in found[-1]["error"]


def test_an_error_before_the_first_audio_has_its_own_status(client: FlaskClient) -> None:
    for parts in (False, True):
        answer = post(client, script="Ann: fail=UnknownVoice", voices={"Ann": "nobody"}, parts=parts)
        assert answer.status_code == 404 and answer.json is not None and "error" in answer.json


INVALID = [
    ({}, ""),
    ({"script": SCRIPT, "turns": [{"speaker": "a", "text": "x"}]}, ""),
    ({"turns": []}, "turns"),
    ({"turns": [{"speaker": "a"}]}, "turns[0].text"),
    ({"turns": [{"speaker": "SECRET" * 20, "text": "x"}]}, "turns[0].speaker"),
    ({"turns": [{"speaker": "a", "text": "x", "SECRET": 1}]}, ""),
    ({"turns": [{"speaker": "a", "audio": "SECRET!"}]}, "turns[0].audio"),
    ({"turns": [{"speaker": "a", "audio": encoded(b"x"), "voice": "SECRET"}]}, "turns[0].voice"),
    ({"turns": [{"speaker": "a", "text": "x"}] * 65, "voices": {"a": "b"}}, "turns"),
    ({"turns": [{"speaker": "a", "audio": encoded(b"x")}] * 17 + [{"speaker": "a", "text": "x"}]}, "turns"),
    ({"turns": [{"speaker": "a", "text": "SECRET" * 900}] * 2, "voices": {"a": "b"}}, "turns"),
    ({"turns": [{"speaker": "a", "text": "x", "voice": v} for v in "bc"]}, "turns"),
    ({"turns": [{"speaker": "a", "text": "x", "voice": "b"}], "voices": {"a": "c"}}, "turns"),
    ({"script": "SECRET"}, "script"),
    ({"script": "\n".join(f"SECRET{n}: x" for n in range(9))}, "script"),
    ({"script": SCRIPT, "voices": VOICES | {"SECRET": "b"}}, "voices"),
    ({"script": SCRIPT, "voices": VOICES | {"Ann": 5}}, "voices.*"),
    ({"script": SCRIPT, "voices": VOICES | {"Ann": {"audio": "http://SECRET"}}}, "voices.*.audio"),
    ({"script": SCRIPT, "voices": VOICES | {"Ann": {"voic": "SECRET"}}}, "voices.*.voice"),
    ({"script": SCRIPT, "voices": VOICES | {"Ann": {}}}, "voices.*"),
    ({"script": SCRIPT, "voices": {f"SECRET{n}": 5 for n in range(9)}}, "voices"),
    ({"script": SCRIPT, "voices": VOICES | {"Ann": {"voice": "b", "transcript": "SECRET"}}}, "voices.*.transcript"),
    ({"script": SCRIPT, "voices": VOICES, "consent": False}, "consent"),
    ({"script": SCRIPT, "voices": {"Ann": "b"}}, None),
    ({"turns": [{"speaker": "SECRET", "text": "x"}]}, None),
]


@pytest.mark.parametrize(("body", "field"), INVALID)
def test_what_is_wrong_is_told_without_an_echo(
    body: dict[str, Any], field: str | None, client: FlaskClient, fake: FakeSynthesizer
) -> None:
    answer = post(client, **body)
    assert answer.status_code == 422 and not fake.conversed
    assert answer.json is not None and answer.json.get("field") == field
    assert "SECRET" not in answer.text and "Bob" not in answer.text


def test_a_speaker_without_a_voice_is_named_by_number(client: FlaskClient) -> None:
    told = post(client, script=SCRIPT, voices={"Ann": "default"}).text
    assert "turns[1]: its speaker (number 1, counted from 0) has no voice" in told


@pytest.mark.parametrize(
    "parts",
    [
        {"turns": "["},
        {"turns": [{"speaker": "a", "text": "x", "audio": "SECRET"}]},
        {"script": SCRIPT, "voices": {"Ann": {"audio": "SECRET"}, "Bob": "b"}},
        {"script": SCRIPT, "voices": {"Ann": {"audio": "SECRET"}, "Bob": "SECRET"}, "SECRET": b"a file named twice"},
        {
            "turns": [{"speaker": "a", "audio": "SECRET"}] * 2 + [{"speaker": "a", "text": "x"}],
            "SECRET": b"named twice",
        },
        {"script": SCRIPT, "voices": VOICES, "SECRET": b"a file that nothing refers to"},
        {"script": SCRIPT, "voices": {"Ann": "SECRET", "Bob": "b"}, "SECRET": b""},
        {"script": b"a file"},
    ],
)
def test_files_that_do_not_belong_together_are_refused(parts: dict[str, Any], client: FlaskClient) -> None:
    answer = post_form(client, **parts)
    assert answer.status_code == 400 and "SECRET" not in answer.text


def test_as_many_recordings_as_are_allowed_are_taken(client: FlaskClient, fake: FakeSynthesizer) -> None:
    turns = [{"speaker": "b", "audio": encoded(b"x")}] * 15 + [{"speaker": "a", "text": "chunks=1"}]
    voices = {"a": {"audio": encoded(b"x")}}
    assert post(client, turns=turns, voices=voices).status_code == 200
    refused = post(client, turns=[turns[0], *turns], voices=voices)
    assert refused.status_code == 422 and "at most 16 recordings" in refused.text and len(fake.conversed) == 1


@pytest.mark.parametrize("has_audio", [True, False])
def test_consent_is_required_for_audio_only(has_audio: bool, make_client: Any) -> None:
    client = make_client(require_consent=True)
    voices = {"Ann": {"audio": encoded(b"x")} if has_audio else "default", "Bob": "bob"}
    assert post(client, script=SCRIPT, voices=voices).status_code == (422 if has_audio else 200)
    assert post(client, script=SCRIPT, voices=voices, consent=True).status_code == 200


def test_the_characters_that_are_spoken_are_charged(make_client: Any) -> None:
    client = make_client(character_limit="20 per hour")
    heard = {"speaker": "a", "text": "These words were heard.", "audio": encoded(b"x")}
    turns = [heard, {"speaker": "a", "text": "x" * 10}]
    statuses = [post(client, turns=turns).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_key_and_capacity_are_needed(client: FlaskClient, fake: FakeSynthesizer) -> None:
    assert client.post("/conversation", json={"script": SCRIPT, "voices": VOICES}).status_code == 401
    assert client.post("/conversation", data="x", content_type="text/plain", headers=KEY).status_code == 415
    fake.state = "loading"
    assert post(client, script=SCRIPT, voices=VOICES).status_code == 503
