"""The open-loop benchmark against the real server with the demo model."""

import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from benchmarks import load_plot
from benchmarks.load import Voices, http_client
from benchmarks.open_loop import Order, RefusedError
from csm.audio.encoders.pcm import pcm16
from csm.audio.encoders.wav import streaming_header
from tests.paths import ROOT
from tests.real_server import real_server
from tests.reference_audio import VOICE


class Quiet(HTTPServer):
    """A client that leaves early is no news."""

    def handle_error(self, request, client_address):
        pass


HELLO = Order(0.0, "Hello.", 0)


@pytest.fixture(scope="module")
def voices() -> Voices:
    return Voices(VOICE)


def test_a_voice_is_the_same_for_its_number_and_another_for_another(voices):
    assert voices.wav(0) == voices.wav(0) != voices.wav(1)
    assert 0.3 * 8 * 48_000 * 2 < len(voices.wav(0)) < 8 * 48_000 * 2


@pytest.fixture
def answering():
    """Start a server that gives the same answer to everybody; the address and the requests so far."""
    servers, seen = [], []

    def start(status: int, pieces: Sequence[bytes], whole: bool = True) -> tuple[str, list]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n" if whole else b"")
                self.close_connection = True

            def log_message(self, *_):
                pass

        servers.append(Quiet(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_samples_split_between_packets_are_joined(answering, voices):
    samples = np.linspace(-1, 1, 999, dtype=np.float32)
    body = streaming_header(24_000) + pcm16(samples)
    url, seen = answering(200, [body[:50], body[50:301], body[301:]])
    heard = np.concatenate([*http_client(url, "a-key", voices)(HELLO)()])
    np.testing.assert_allclose(heard, samples, atol=1e-4)
    [(path, headers, form)] = seen
    assert (path, headers["X-API-Key"]) == ("/clone-voice", "a-key")
    assert b'name="text"\r\n\r\nHello.' in form and voices.wav(0) in form


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(429, RefusedError, "429"), (503, RefusedError, "503"), (401, RuntimeError, "401 no valid key")],
)
def test_a_refusal_is_not_counted_as_a_failure(answering, voices, status, error, words):
    url, _ = answering(status, [b"no valid key"])
    with pytest.raises(error, match=words):
        [*http_client(url, "", voices)(HELLO)()]


def test_an_answer_that_is_cut_off_is_a_failure(answering, voices):
    url, _ = answering(200, [streaming_header(24_000), bytes(2000)], whole=False)
    with pytest.raises(http.client.IncompleteRead):
        [*http_client(url, "", voices)(HELLO)()]


@pytest.mark.slow
def test_rates_are_tried_on_a_running_server(tmp_path: Path):
    found = []
    with real_server(tmp_path, metrics_key="for-prometheus") as server:
        command = [sys.executable, "-m", "benchmarks.load", "--url", f"http://127.0.0.1:{server.port}"]
        command += ["--metrics", f"http://127.0.0.1:{server.port}/metrics", "--metrics-key", "for-prometheus"]
        command += ["--seconds", "3", "--out", str(tmp_path / "load.json"), "--rates"]
        # One at a time, because a sweep ends at the first rate that is too high for the machine.
        for rate in ("2", "200"):
            ran = subprocess.run(
                [*command, rate, "--key", "secret"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
            )
            result = json.loads((tmp_path / "load.json").read_text())
            found += result["rates"]
        refused = subprocess.run(
            [*command, "2", "--key", "wrong"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        blind = subprocess.run(
            [*command, "2", "--key", "secret", "--metrics-key", "wrong"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    calm, crowded = found
    assert calm["played"] == calm["requests"] and calm["audible_s"]["p50"] > 0
    assert crowded["refused"] and crowded["failed"] == 0
    assert re.search(r"highest rate without underruns or refusals: ", ran.stdout)
    # The metrics were recorded at the same time, and tell of the crowd.
    assert {"running", "waiting"} <= {
        name for one in result["metrics"] for name in ("running", "waiting") if one[f"csm_num_requests_{name}"]
    }
    assert result["metrics"][-1]["csm_audio_frames_total"] > result["metrics"][0]["csm_audio_frames_total"]
    load_plot.draw(result, tmp_path / "load.png")
    assert matplotlib.image.imread(tmp_path / "load.png").shape[:2] == (900, 1080)
    assert refused.returncode == 1 and "401" in refused.stderr.splitlines()[-1]
    assert blind.returncode == 1 and "no metrics: check --metrics" in blind.stderr.splitlines()[-1]
