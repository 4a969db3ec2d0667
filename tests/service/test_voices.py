"""Stored voices on the real server: made over HTTP, kept over a restart, spoken with without encoding, deleted."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import raw_http
from tests.corpus.voices import damaged
from tests.real_server import SHORT_FIELDS, RealServer, real_server
from tests.reference_audio import VOICE, synthetic_speech
from tests.speech.voices.stored_files import stored_files

URL = "/v1/audio/voices"
WORDS = VOICE.with_suffix(".txt").read_text().strip()
SHARED: dict[str, Any] = {"metrics_key": "metrics", "slots": 1, "precision": "float32"}


def form(*files: tuple[str, bytes], **texts: str) -> bytes:
    parts = [raw_http.part(name, content, "voice") for name, content in files]
    parts += [raw_http.part(name, text.encode()) for name, text in texts.items()]
    return b"".join(parts) + f"--{raw_http.BOUNDARY}--\r\n".encode()


def ask(server: RealServer, method: str, path: str = "", body: bytes = b"") -> raw_http.Answer:
    request = raw_http.post(body, path=f"{URL}{path}")
    return server.ask(request.replace(b"POST", method.encode(), 1))


def create(server: RealServer, *recordings: bytes, name: str = "Ann", transcript: str = WORDS) -> raw_http.Answer:
    files = [("audio_sample", content) for content in recordings or (VOICE.read_bytes(),)]
    return ask(
        server, "POST", "", form(*files, name=name, transcript=transcript, consent="It is in the public domain.")
    )


def say(server: RealServer, voice: str) -> raw_http.Answer:
    return server.ask(raw_http.post(form(**{**SHORT_FIELDS, "voice": voice})))


def encodings(server: RealServer) -> int:
    """Return how often the server has run the encoder."""
    metrics = server.ask(raw_http.post(b"", path="/metrics", X_API_Key="metrics").replace(b"POST", b"GET", 1))
    [count] = re.findall(r"^csm_codec_encode_s_count (\d+)", metrics.body.decode(), re.MULTILINE)
    return int(count)


@pytest.mark.slow
def test_a_voice_lives_from_its_recording_to_its_deletion(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    with real_server(tmp_path, voices_dir=folder, **SHARED) as server:
        made = create(server)
        assert made.status == 201, made.body
        voice = json.loads(made.body)
        assert voice["transcript"] == WORDS and 5 < voice["seconds"] < 10 and voice["report"]["warnings"] == []
        encoded = encodings(server)
        spoken = say(server, voice["id"])
        assert (spoken.status, spoken.is_complete) == (200, True) and spoken.headers["x-transcript-source"] == "given"
        assert len(spoken.body) > 44 and np.frombuffer(spoken.body[44:], "<i2").any()
        assert encodings(server) == encoded
        exported = ask(server, "GET", f"/{voice['id']}/export").body
    with real_server(tmp_path, voices_dir=folder, **SHARED) as server:
        encoded = encodings(server)
        assert json.loads(ask(server, "GET").body)["data"][0] == voice
        for word in (voice["id"], "Ann"):
            assert say(server, word).body == spoken.body
        assert encodings(server) == encoded, "a restarted server speaks with a stored voice without encoding it"
        assert ask(server, "DELETE", f"/{voice['id']}").status == 204 and stored_files(folder) == []
        assert say(server, "Ann").status == 404
        imported = ask(server, "POST", "/import", form(("file", exported)))
        assert imported.status == 201, imported.body
        assert say(server, "Ann").body == spoken.body
        assert say(server, "default").status == 200
        server.assert_serves()
        assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_several_recordings_and_hostile_files(tmp_path: Path) -> None:
    with real_server(tmp_path, voices_dir=tmp_path / "voices", **SHARED) as server:
        made = create(server, synthetic_speech(3, seed=1), synthetic_speech(3, seed=2), transcript="Words.")
        assert made.status == 201 and len(json.loads(made.body)["report"]["recordings"]) == 2
        assert create(server, b"Words, no sound.", name="Bea").status == 415
        assert create(server, synthetic_speech(0.3), name="Bea").status == 400
        for name, content in damaged():
            answer = ask(server, "POST", "/import", form(("file", content)))
            assert answer.status == 400 and b'"error"' in answer.body, name
        for voice in ("../voices", "..%2f..%2fetc%2fpasswd", "%00", "x" * 3000):
            assert ask(server, "GET", f"/{voice}").status == 404
        assert len(json.loads(ask(server, "GET").body)["data"]) == 2
        server.await_idle()
        server.assert_serves()
        assert "Traceback" not in server.log.read_text()


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(AssertionError, match="CSM_VOICES_DIR cannot be used"),
        real_server(tmp_path, voices_dir=tmp_path / "file" / "voices"),
    ):
        pass
