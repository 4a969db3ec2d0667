"""The decoder, the weights or the network are missing or broken: the server says so, or serves nevertheless."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from csm.audio.decode import ffmpeg_path
from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.ports import free_port
from tests.real_server import clone_request, real_server

pytestmark = pytest.mark.slow

FFMPEG = """#!/bin/sh
case "$*" in *protocol=fd*) ;; *)
    [ -e {folder}/hung ] && exec /bin/sleep 60
    [ -e {folder}/crashing ] && kill -SEGV $$
    [ -e {folder}/silent ] && exit 0
;; esac
exec {real} "$@"
"""


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """Return a folder with an ffmpeg that fails as the files beside it say."""
    folder = tmp_path_factory.mktemp("ffmpeg")
    program = folder / "ffmpeg"
    program.write_text(FFMPEG.format(folder=folder, real=ffmpeg_path()))
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, decoder):
    surroundings = {"IMAGEIO_FFMPEG_EXE": str(decoder / "ffmpeg")}
    with real_server(tmp_path_factory.mktemp("decoder"), **noise(), environment=surroundings) as server:
        yield server


@pytest.mark.parametrize(("fault", "status"), [("hung", 504), ("crashing", 415), ("silent", 415)])
def test_a_decoder_that_fails(server, decoder, fault, status):
    (decoder / fault).touch()
    assert server.ask(clone_request()).status == status
    (decoder / fault).unlink()
    server.assert_serves()


def test_a_decoder_that_is_deleted_while_the_server_runs(server, decoder):
    (decoder / "ffmpeg").rename(decoder / "away")
    answer = server.ask(clone_request())
    assert answer.status == 503 and b"decoder" in answer.body
    (decoder / "away").rename(decoder / "ffmpeg")
    server.assert_serves()


def test_a_missing_decoder_at_the_start(tmp_path):
    surroundings = {"IMAGEIO_FFMPEG_EXE": "/nonexistent/ffmpeg", "PATH": "/nonexistent"}
    with real_server(tmp_path, environment=surroundings, healthy=False) as server:
        assert "ffmpeg" in server.await_status("healthy", "unhealthy")["reason"]
        assert server.ask(clone_request()).status == 503


def truncated(weights: Path) -> None:
    os.truncate(weights, weights.stat().st_size // 2)


def bits_flipped_in_the_header(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[8:40] = (byte ^ 0x10 for byte in content[8:40])
    weights.write_bytes(content)


def bits_flipped_in_a_tensor(weights: Path) -> None:
    """An exponent of all ones: not a number."""
    tensors = load_file(weights)
    norm = next(name for name in tensors if name.endswith("backbone_model.norm.weight"))
    tensors[norm][0] = torch.nan
    save_file(tensors, weights, {"format": "pt"})


def missing(weights: Path) -> None:
    weights.unlink()


@pytest.mark.parametrize("damage", [truncated, bits_flipped_in_the_header, bits_flipped_in_a_tensor, missing])
def test_damaged_weights(tmp_path, tiny, damage):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny(), checkpoint)
    damage(checkpoint / "model.safetensors")
    with real_server(tmp_path, model=checkpoint, precision="float32", healthy=False) as server:
        health = server.await_status("healthy", "unhealthy")
        assert health["status"] == "unhealthy" and health["reason"]
        answer = server.ask(clone_request())
        assert answer.status == 503 and "retry-after" in answer.headers
        assert str(tmp_path).encode() not in answer.body
        assert server.get("/health/live").status == 200


def test_no_network_and_no_token(tmp_path):
    """The start fails, and the last line names the remedy."""
    nobody = f"http://127.0.0.1:{free_port()}"
    surroundings = {
        "CSM_MODEL": "sesame/csm-1b",
        "HF_ENDPOINT": nobody,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
    }
    command = [sys.executable, str(ROOT / "sesame_server.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | surroundings, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]  # before it, the library tells of its attempts
    assert last.startswith("sesame_server: ") and "CSM_MODEL=demo" in last
