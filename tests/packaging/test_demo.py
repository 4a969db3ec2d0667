"""`make demo`'s script against servers that behave and servers that do not."""

import io
import os
import socket
import subprocess
import sys
import threading
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from examples import demo


class Answer(BaseHTTPRequestHandler):
    """Answers a form with a streamed WAV of one second, and keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self):
        self.server.seen = (self.headers, self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer good":
            body = b'{"error": "no"}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (streamed_header(), b"\1\0" * 12_000, b"\2\0" * 12_000, b""):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def log_message(self, *_):
        pass


def streamed_header(rate: int = 24_000) -> bytes:
    whole = io.BytesIO()
    with wave.open(whole, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
    header = bytearray(whole.getvalue())
    header[4:8] = header[40:44] = b"\xff" * 4
    return bytes(header)


@pytest.fixture
def answering():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_posts_a_form_and_times_the_answer(answering):
    got = demo.clone_voice(answering.server_port, "good", b"\r\n--sound\0", "a.webm", {"text": "Grüße"})
    assert got.status == 200
    assert 0 < got.first_audio <= got.elapsed
    headers, body = answering.seen
    boundary = headers["Content-Type"].split("boundary=")[1].encode()
    parts = body.split(b"--" + boundary)
    assert parts[0] == b"" and parts[-1] == b"--\r\n"
    assert parts[1].endswith("\r\n\r\nGrüße\r\n".encode())
    assert b'name="audio"; filename="a.webm"' in parts[2]
    assert parts[2].endswith(b"\r\n\r\n\r\n--sound\0\r\n")


def test_an_error_of_the_server_is_returned(answering):
    got = demo.clone_voice(answering.server_port, "bad", b"x", "a.wav", {})
    assert (got.status, got.body) == (401, b'{"error": "no"}')


def test_the_written_file_has_exact_sizes():
    target = io.BytesIO()
    assert demo.write_wav(streamed_header() + b"\1\0" * 36_000, target) == 1.5
    with wave.open(io.BytesIO(target.getvalue())) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate(), wav.getnframes()) == (1, 2, 24_000, 36_000)


def test_an_answer_without_audio_is_a_failure(tmp_path):
    with pytest.raises(demo.DemoError, match="no audio"):
        demo._report(demo.Clone(200, streamed_header(), 0.0, 0.1), tmp_path / "clone.wav")


def test_a_server_that_ends_is_reported_with_its_log(monkeypatch):
    with (
        pytest.raises(demo.DemoError, match=r"(?s)did not become healthy.*CSM_DEVICE"),
        demo.running_server({"CSM_MODEL": "demo", "CSM_DEVICE": "abacus"}) as server,
    ):
        demo.wait_until_healthy(server, 60)


def test_a_port_in_use_is_reported(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(demo.DemoError, match=r"(?i)(?s)did not become healthy.*(in use|CSM_PORT)"),
            demo.running_server({"CSM_MODEL": "demo", "CSM_PORT": str(taken.getsockname()[1])}) as server,
        ):
            demo.wait_until_healthy(server, 30)


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(demo, "STOP_SECONDS", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline()
        with pytest.raises(demo.DemoError, match="did not stop"):
            demo._stop(process)
    assert process.returncode == -9


def test_the_output_ends_with_what_was_heard_and_how_to_use_the_real_model():
    lines = demo.quality_note("demo").splitlines()
    assert lines[1].startswith("This is a small model")
    assert lines[-1].strip() == "CSM_MODEL=unsloth/csm-1b make demo"


def test_there_are_no_remarks_about_another_model():
    assert demo.quality_note("unsloth/csm-1b") == ""


def test_the_model_of_the_environment_is_used(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(demo, "demonstrate", lambda text, target, model: seen.append((text, model)))
    monkeypatch.setattr(sys, "argv", ["demo.py", "Say", "this"])
    monkeypatch.delenv("CSM_MODEL", raising=False)
    assert demo.main() == 0
    assert "unsloth/csm-1b" in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setenv("CSM_MODEL", "a/model")
    assert demo.main() == 0
    assert "unsloth" not in capsys.readouterr().out
    assert seen == [("Say this", "demo"), ("Say this", "a/model")]


@pytest.mark.slow
def test_the_demo_writes_an_audio_file(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSM_")}
    command = [sys.executable, str(demo.ROOT / "examples" / "demo.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Real-time factor" in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "CSM_MODEL=unsloth/csm-1b make demo"
    with wave.open(str(tmp_path / "clone.wav")) as wav:
        assert wav.getnframes() / wav.getframerate() > 0.5
