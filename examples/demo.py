"""Demonstrate the server: start it, clone the voice of a recording over HTTP, write `clone.wav`, and stop it.

Run `make demo`, or `python examples/demo.py [text]`. Unless `CSM_MODEL` names another model, it uses the one embedded
in the repository and needs no network. The client uses only the standard library, so it also shows what a request
looks like on the wire.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "examples" / "voice.webm"
TRANSCRIPT = ROOT / "examples" / "voice.txt"
TEXT = "Hello! This voice was cloned from one short sample."
START_SECONDS = 180.0
DOWNLOAD_SECONDS = 3600.0
STOP_SECONDS = 30.0


SPEECH = """
This is a small model, trained to make the server audible offline: it speaks slowly, in a monotone, and not always
clearly. CSM-1B itself sounds far better. To hear it, which needs no token but downloads some gigabytes:

    CSM_MODEL=unsloth/csm-1b make demo
"""


class DemoError(Exception):
    """A step of the demonstration failed; the message says which."""


@dataclass(frozen=True)
class Server:
    """A running server: its port, process and log file."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """Return whether the process is still running."""
        return self.process.poll() is None


@contextlib.contextmanager
def running_server(environment: Mapping[str, str], python: str = sys.executable) -> Iterator[Server]:
    """Start `sesame_server.py` on a free port with only these `CSM_` variables; stop it with SIGTERM.

    Raises:
        DemoError: the server did not stop in time, or its exit status is not 0.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CSM_")}
    port = _free_port()
    ours = {"CSM_HOST": "127.0.0.1", "CSM_PORT": str(port), **environment}
    with tempfile.TemporaryDirectory(prefix="csm-demo-") as folder:
        log = Path(folder, "server.log")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [python, "sesame_server.py"], cwd=ROOT, env=inherited | ours, stdout=sink, stderr=subprocess.STDOUT
            )
        try:
            yield Server(port, process, log)
        finally:
            _stop(process)


def wait_until_healthy(server: Server, seconds: float = START_SECONDS) -> dict[str, object]:
    """Poll `/health` until it answers 200; return its document.

    Raises:
        DemoError: the server ended, is unhealthy, or took too long; the message contains the end of its log.
    """
    began = time.monotonic()
    while server.alive() and time.monotonic() - began < seconds:
        status, health = _health(server.port)
        if status == 200:
            return health
        if health.get("status") == "unhealthy":
            break
        _progress(f"  {health.get('status', 'starting')} … {time.monotonic() - began:.0f} s")
        time.sleep(0.3)
    raise DemoError(f"the server did not become healthy; its log ends with\n{tail(server.log)}")


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Clone:
    """An answer of POST /clone-voice and its times.

    Attributes:
        status: HTTP status.
        body: a WAV file, or a problem document.
        first_audio: seconds from sending the request to the first byte after the WAV header.
        elapsed: seconds from sending the request to the end of the answer.
    """

    status: int
    body: bytes
    first_audio: float
    elapsed: float


def clone_voice(port: int, key: str, reference: bytes, filename: str, fields: Mapping[str, str]) -> Clone:
    """Send reference audio and the other fields, and read the answer while it is streamed."""
    body, content_type = _multipart(reference, filename, fields)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    began = time.monotonic()
    with contextlib.closing(connection):
        connection.request(
            "POST", "/clone-voice", body, {"Content-Type": content_type, "Authorization": f"Bearer {key}"}
        )
        response = connection.getresponse()
        received, first_audio = bytearray(), 0.0
        while chunk := response.read1(65536):
            received += chunk
            if not first_audio and len(received) > 44:
                first_audio = time.monotonic() - began
        return Clone(response.status, bytes(received), first_audio, time.monotonic() - began)


def write_wav(streamed: bytes, target: IO[bytes]) -> float:
    """Write a streamed WAV with the actual sizes in its header, which some players need; return its seconds."""
    pcm = streamed[44 : len(streamed) - len(streamed) % 2]
    rate = int.from_bytes(streamed[24:28], "little")
    with wave.open(target, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(pcm)
    return len(pcm) / 2 / rate


def demonstrate(text: str, target: Path, model: str) -> None:
    """Start the server, clone the voice, write the result, and stop the server.

    Args:
        text: what to say.
        target: WAV file to write.
        model: value of `CSM_MODEL`.

    Raises:
        DemoError: a step failed.
    """
    key = secrets.token_urlsafe(24)
    with running_server({"CSM_MODEL": model, "CSM_API_KEYS": key}) as server:
        print(f"Starting the server with the model {model} on port {server.port}")
        health = wait_until_healthy(server, START_SECONDS if model == "demo" else DOWNLOAD_SECONDS)
        _progress("")
        print(f"Healthy: {health.get('model')} on {health.get('device')}")
        fields = {"text": text, "transcript": TRANSCRIPT.read_text().strip()}
        answer = clone_voice(server.port, key, REFERENCE.read_bytes(), REFERENCE.name, fields)
        if answer.status != 200:
            raise DemoError(f"/clone-voice answered {answer.status}: {answer.body.decode(errors='replace')}")
        _report(answer, target)


def quality_note(model: str) -> str:
    """Return a note on the quality of the demo model and how to hear a better one; for other models, nothing."""
    return SPEECH if model == "demo" else ""


def _report(answer: Clone, target: Path) -> None:
    with target.open("wb") as sink:
        seconds = write_wav(answer.body, sink)
    if not seconds:
        raise DemoError("the answer holds no audio")
    print(f"Status            {answer.status}")
    print(f"Audio             {seconds:.2f} s in {target.name}")
    print(f"First audio after {answer.first_audio:.2f} s")
    print(f"Real-time factor  {answer.elapsed / seconds:.2f} (below 1 is faster than playing it)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _health(port: int) -> tuple[int, dict[str, object]]:
    """Return status and body of `/health`; status 0 if the server does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}


def _multipart(reference: bytes, filename: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the body of a form with one file, and its content type (RFC 7578)."""
    boundary = uuid.uuid4().hex
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
    body = b"".join(part.format(name, "").encode() + value.encode() + b"\r\n" for name, value in fields.items())
    body += part.format("audio", f'; filename="{filename}"').encode() + reference + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise DemoError(f"the server did not stop within {STOP_SECONDS:.0f} s of SIGTERM") from None
    if code and sys.exc_info()[0] is None:
        raise DemoError(f"the server ended with exit status {code}")


def _progress(line: str) -> None:
    """Overwrite the current line on a terminal; elsewhere, print nothing."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)


def main() -> int:
    """Run the demonstration; return its exit status."""
    model = os.environ.get("CSM_MODEL") or "demo"
    try:
        demonstrate(" ".join(sys.argv[1:]) or TEXT, Path("clone.wav"), model)
    except DemoError as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    print("Server stopped. Play it: ffplay -autoexit clone.wav, or any audio player")
    print(quality_note(model), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
