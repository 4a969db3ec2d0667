"""What clients send appears in no log, no error and no file."""

import json
import re
from pathlib import Path

import pytest

from tests import raw_http
from tests.polling import wait_until

CANARY = "CANARY-9f3c"


def requests():
    form, post = raw_http.form, raw_http.post
    yield post(form(f"chunks=2 {CANARY}", transcript=CANARY))
    yield post(form(f"chunks=2 {CANARY}", stream="false", transcript=CANARY))
    yield post(form(f"fail=Unforeseen {CANARY}"))
    yield post(form(f"fail=GenerationFailed after=1 {CANARY}"))
    yield post(form(f"fail=Unforeseen after=1 {CANARY}"))
    yield post(form(f"fail=UndecodableAudio {CANARY}"))
    for name in ("temperature", "top_k", "seed", "max_seconds", "stream", "consent", CANARY):
        yield post(form(f"chunks=2 {CANARY}", b"sound", **{name: CANARY}))
    yield post(form().replace(b"a.wav", CANARY.encode()))
    yield post(form().replace(b'"audio"', CANARY.encode()))
    yield post(form(audio=CANARY.encode()))
    yield post(form(audio=CANARY.encode())[:-20])
    yield post(form(), X_API_Key=CANARY)
    yield post(form(), Authorization=f"Bearer {CANARY}")
    yield post(form(), Authorization=CANARY, User_Agent=CANARY, Referer=CANARY, Cookie=CANARY, Origin=CANARY)
    yield post(form(), X_Request_ID=f"{CANARY} is not safe")
    yield post(form(), Content_Type=f"multipart/form-data; boundary={CANARY}")
    yield post(form(), Content_Type=CANARY)
    yield post(form(), path=f"/clone-voice?text={CANARY}")
    yield post(form(), path=f"/{CANARY}")
    yield post(voice_form(), path="/v1/audio/voices")
    yield post(voice_form(consent=b"no"), path="/v1/audio/voices")
    yield post(form(voice=CANARY))
    yield post(form(), path=f"/v1/audio/voices/{CANARY}").replace(b"POST", b"DELETE")
    yield post(b"", path=f"/v1/audio/voices/{CANARY}/sample").replace(b"POST", b"GET")
    speech = {"model": "tts-1", "input": f"chunks=2 {CANARY}", "ref_text": CANARY, "ref_audio": "AAAA"}
    for name in (*speech, "voice", "stream_format", "instructions", "speed", "seed", CANARY):
        body = json.dumps(speech | {name: CANARY}).encode()
        yield post(body, path="/v1/audio/speech", Content_Type="application/json")
    for fail in ("Unforeseen after=1", "Unforeseen", "GenerationFailed after=1"):
        body = json.dumps(speech | {"input": f"fail={fail} {CANARY}", "stream_format": "sse"}).encode()
        yield post(body, path="/v1/audio/speech", Content_Type="application/json")
    for body in (CANARY.encode(), json.dumps({CANARY: CANARY}).encode(), f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode()):
        yield post(body, path="/v1/audio/speech", Content_Type="application/json")
    yield post(b"", path=f"/v1/models/{CANARY}").replace(b"POST", b"GET")
    yield post(form(), Content_Length=CANARY)
    yield post(form(), Transfer_Encoding=CANARY)
    yield post(form()).replace(b"POST", CANARY.encode())
    yield post(form(), version=CANARY)
    yield post(form(), **{f"X {CANARY}": "1"})
    yield post(form(), X_Null=f"{CANARY}\0")


def voice_form(**given):
    """A form that would make a voice, if the server stored any."""
    texts = {"name": CANARY.encode(), "transcript": CANARY.encode(), "consent": CANARY.encode(), **given}
    parts = [raw_http.part("audio_sample", CANARY.encode(), "a.wav"), *(raw_http.part(*text) for text in texts.items())]
    return b"".join(parts) + f"--{raw_http.BOUNDARY}--\r\n".encode()


def test_what_a_client_sends_is_in_no_log_and_no_error(server):
    """The shared server logs at DEBUG."""
    for request in requests():
        answer = server.ask(request)
        if b"json" in answer.raw or answer.status == 200:
            assert CANARY.encode() not in answer.raw, request[:300]
    log = server.log.read_text()
    assert "csm.web request" in log
    assert not [line for line in log.splitlines() if CANARY in line]
    assert "secret" not in log


def test_a_request_is_logged_with_sizes_and_durations(server):
    server.ask(raw_http.post(raw_http.form("chunks=5", audio=b"12345"), X_Request_ID="find-me"))
    line = server.log_lines("find-me")[0]
    for words in ("key=key-1", "route=/clone-voice", "status=200", "outcome=ok", "reference_bytes=5", "text_chars=8"):
        assert words in line
    assert re.search(
        r" first_audio=\d+\.\d{3} format=wav audio=0\.200 finish=stop segments=1 retries=0 language=en underruns=0$",
        line,
    )


def test_a_failed_request_is_logged_with_the_kind_of_its_error(server):
    server.ask(raw_http.post(raw_http.form("fail=GenerationFailed"), X_Request_ID="why-not"))
    line = server.log_lines("why-not")[0]
    assert "status=500 outcome=failed" in line and "error=GenerationFailed" in line


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_no_file_is_open_while_a_request_with_large_reference_audio_is_served(server):
    folder = Path(f"/proc/{server.worker_pid}/fd")

    def files():
        targets = {str(link.readlink()) for link in list(folder.iterdir()) if link.is_symlink()}
        return {target for target in targets if target.startswith("/") and "/dev/" not in target}

    before = files()
    with raw_http.connect(server.port) as connection:
        connection.sendall(raw_http.post(raw_http.form("chunks=1 hold=0", audio=bytes(900_000))))
        wait_until(lambda: server.happened("begin"))
        assert files() == before
    wait_until(lambda: server.happened("end"))
