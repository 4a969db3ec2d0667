"""`python -m benchmarks.web`: measure the cost of the HTTP layer behind gunicorn, with a model that takes no time.

Two times are measured by a client on the same machine: from a request to the first audio of its answer, and for each
further chunk. Reference audio is sent as a browser sends it, with a key and a quota. It is not decoded, because that is
not done by the HTTP layer.
"""

import argparse
import contextlib
import http.client
import multiprocessing
import os
import random
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep

import requests
from flask import Flask

from benchmarks.report import hardware
from csm import log, memory_tuning, server, web
from csm.settings import Settings, load
from csm.speech import SAMPLE_RATE, Detection, Dialogue, Notes, Speech, Status, Utterance
from csm.speech.admission import Admission, Reservation

KEY = "0123456789abcdef" * 2
CHUNK = bytes(2 * SAMPLE_RATE * 8 * 80 // 1000)
"""Eight frames of silence."""
SECONDS = len(CHUNK) / 2 / SAMPLE_RATE


class Instant:
    """A synthesizer that takes no time; see `csm.speech.api.Synthesizer`."""

    def __init__(self, chunks: int) -> None:
        self._chunks, self._admission = chunks, Admission(1, 8)

    def status(self) -> Status:
        """Return a healthy status."""
        return Status("healthy", "instant")

    def stats(self) -> None:
        """Return None: there is no engine."""

    def reserve(self) -> Reservation:
        """Reserve capacity, as `CsmSynthesizer` does."""
        return self._admission.reserve()

    def speak(
        self, request: Utterance | Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Speech:
        """Return silence; poll `is_disconnected` for each chunk, as an engine does."""

        def chunks() -> Generator[bytes, None, None]:
            with reservation:
                for _ in range(self._chunks):
                    is_disconnected()
                    yield CHUNK

        return Speech(chunks(), Notes())

    def detect_watermark(self, recording: bytes) -> Detection:
        """Find no watermark."""
        return Detection(False, 0.0, 0.0)

    def drain(self) -> None:
        """Do nothing: no generation is running."""

    def close(self) -> None:
        """Do nothing: there is no device to release."""


def serve(settings: Settings, chunks: int) -> None:
    """Run the server as `sesame_server.py` does, with another synthesizer."""

    def create() -> Flask:
        log.configure(settings.log_level)
        memory_tuning.configure_malloc()
        app = web.create_app(settings, Instant(chunks))
        memory_tuning.freeze_gc()
        return app

    # Logging is part of the cost, but its output is not needed.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        server.serve(settings, create)


def call(connection: http.client.HTTPConnection, body: bytes, content_type: str) -> tuple[float, float]:
    """Send one request; return the seconds to its first audio and to its end."""
    began = perf_counter()
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {KEY}"}
    connection.request("POST", "/clone-voice", body, headers)
    answer = connection.getresponse()
    first_piece = answer.read(1024)
    first = perf_counter() - began
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {first_piece.decode()}")
    answer.read()
    return first, perf_counter() - began


def measure(port: int, reference: bytes, chunks: int, count: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds to the first audio, and for each further chunk, of each request."""
    text, audio = {"text": "The quick brown fox jumps over the lazy dog."}, ("voice.webm", reference, "audio/webm")
    prepared = requests.Request("POST", "http://127.0.0.1", data=text, files={"audio": audio}).prepare()
    assert isinstance(prepared.body, bytes)
    form = prepared.body, prepared.headers["Content-Type"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(20):
        call(connection, *form)
    times = [call(connection, *form) for _ in range(count)]
    return [1000 * first for first, _ in times], [1000 * (end - first) / (chunks - 1) for first, end in times]


def main() -> None:
    """Measure, and print the results."""
    arguments = _parse()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = load(None, host="127.0.0.1", port=port, api_keys=(KEY,), rate_limit="1000000/minute", log_level="INFO")
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(settings, arguments.chunks))
    process.start()
    try:
        _await(port)
        for name, reference in _references(arguments.reference):
            firsts, chunks = measure(port, reference, arguments.chunks, arguments.requests)
            _print(f"{name}, {len(reference) / 1000:.0f} kB", firsts, chunks)
    finally:
        process.terminate()
        process.join()
    print(hardware())


def _references(path: Path) -> list[tuple[str, bytes]]:
    noise = random.Random(0).randbytes(960_044)
    return [("a recording of a browser", path.read_bytes()), ("ten seconds of 48 kHz WAV", noise)]


def _print(name: str, firsts: list[float], chunks: list[float]) -> None:
    def row(what: str, values: list[float]) -> str:
        percent = quantiles(values, n=100, method="inclusive")
        return f"  {what:12} p10 {percent[9]:7.3f} ms   median {percent[49]:7.3f} ms   p99 {percent[98]:7.3f} ms"

    print(name, row("request", firsts), row("chunk", chunks), sep="\n")
    print(f"  a chunk of {SECONDS:.2f} s: {median(chunks) / 10 / SECONDS:.4f} % of its time at an RTF of 1")


def _await(port: int) -> None:
    for _ in range(600):
        sleep(0.1)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise SystemExit("the server did not start")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=20, help="of each answer")
    parser.add_argument("--reference", type=Path, default=Path(__file__).parents[1] / "examples" / "voice.webm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
