"""The README's commands and its Python, run as they stand against the real server with the demo model."""

import json
import os
import re
import stat
import subprocess
import sys
import wave
from pathlib import Path

import imageio_ffmpeg
import pytest

from csm.settings import load, variables
from csm.web.keys import Keyring
from tests.docs import documents
from tests.packaging.dockerfile import Dockerfile

pytestmark = pytest.mark.slow


def bash(code: str, folder, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run as a reader's terminal would, and stop at the first failure."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CSM_")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def program(folder, name: str, body: str) -> str:
    """Put a stand-in for a program on the path; return the path."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def seconds(wav_file) -> float:
    """Decode with ffmpeg, as players do: the sizes in a streamed header are not the true ones."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(wav_file), "-f", "s16le", "-ar", "24000", "-"]
    decoded = subprocess.run(command, capture_output=True)
    assert decoded.returncode == 0 and not decoded.stderr, decoded.stderr
    return len(decoded.stdout) / 48_000


def test_curl(served, checkout):
    done = bash(documents.block("bash", "curl", served.address), checkout)
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "clone.wav") > 0.3


def test_curl_finds_the_mark(served, checkout):
    assert bash(documents.block("bash", "curl", served.address), checkout).returncode == 0
    done = bash(documents.block("bash", "watermark", served.address), checkout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["marked"] is True and found["confidence"] >= 0.7


def test_a_recording_is_examined(served, checkout):
    done = bash(documents.block("bash", "reference", served.address), checkout)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["seconds"] > 5


def test_a_stored_voice(served, checkout):
    done = bash(documents.block("bash", "voices", served.address), checkout)
    assert done.returncode == 0, done.stderr
    voice = json.loads(done.stdout)
    assert voice["name"] == "Jane" and voice["transcript"] and seconds(checkout / "clone.wav") > 0.3
    again = bash(documents.block("bash", "voices", served.address), checkout)
    assert again.returncode != 0 and "choose another" in json.loads(again.stdout)["error"]["message"]


def test_curl_says_what_is_wrong(served, checkout):
    done = bash(documents.block("bash", "curl", served.address).replace("change-me", "wrong"), checkout)
    assert done.returncode != 0
    problem = json.loads((checkout / "clone.wav").read_text())
    assert problem["status"] == 401
    assert problem["error"]


def test_curl_into_a_player(served, checkout, tmp_path):
    path = program(tmp_path / "bin", "ffplay", f'printf "%s " "$@" > arguments; cat > "{checkout}/heard.wav"')
    done = bash(documents.block("bash", "curl-stream", served.address), checkout, PATH=path)
    assert done.returncode == 0, done.stderr
    assert (checkout / "arguments").read_text().endswith("-i - ")
    assert seconds(checkout / "heard.wav") > 0.3


def test_python(served, checkout):
    code = documents.block("python", "client", served.address)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "clone.wav") > 0.3


def test_python_says_what_is_wrong(served, checkout):
    code = documents.block("python", "client", served.address).replace("change-me", "wrong")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1
    assert "key" in done.stderr and "Traceback" not in done.stderr


def test_the_client_of_openai(served, checkout):
    code = documents.block("python", "openai", served.address)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "clone.wav") > 0.3


def test_a_conversation(served, checkout):
    done = bash(documents.block("bash", "conversation", served.address), checkout)
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "conversation.wav") > 0.6


def csm_command(folder) -> dict[str, str]:
    """Put `csm` on the path as an installation would; return the environment."""
    return {"PATH": program(folder, "csm", f'exec "{sys.executable}" -m csm "$@"'), "PYTHONPATH": str(documents.ROOT)}


def test_say_with_a_model_of_its_own(checkout, tmp_path):
    done = bash(documents.block("bash", "say"), checkout, **csm_command(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "clone.wav") > 0.3


def test_say_through_a_server(served, checkout, tmp_path):
    done = bash(documents.block("bash", "say-url", served.address), checkout, **csm_command(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert seconds(checkout / "clone.wav") > 0.3


def test_the_python_api(checkout):
    code = ["-c", documents.block("python", "api")]
    environment = os.environ | {"PYTHONPATH": str(documents.ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", *code], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    # Not their exact lengths: the seed is random, and a frame that happens to be silent is held back.
    assert len(lines) > 3 and all(re.fullmatch(r"\d+\.\d\d s", line) for line in lines)
    with wave.open(str(checkout / "clone.wav")) as wav:
        assert wav.getframerate() == 24_000 and wav.getnframes() > 7_200


def test_exact_sizes_on_request(served, checkout):
    """What the API table says of `stream`."""
    code = documents.block("bash", "curl", served.address).replace("-o clone.wav", '-F "stream=false" -o clone.wav')
    assert bash(code, checkout).returncode == 0
    with wave.open(str(checkout / "clone.wav")) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        assert wav.getnframes() / 24_000 == pytest.approx(seconds(checkout / "clone.wav"))


def test_verify(checkout):
    """On the demo model and in one precision; the rest of the command is the README's."""
    command = documents.block("bash", "verify").replace(".venv/bin/python", sys.executable).strip()
    environment = {"CSM_MODEL": "demo", "PYTHONPATH": str(documents.ROOT)}
    done = bash(f"{command} --precision float32", checkout, **environment)
    assert done.returncode == 0, done.stderr
    assert "verdict: passed" in done.stdout
    assert json.loads((checkout / "csm-verify.json").read_text())["verdict"] == "passed"


def test_the_keys_file_accepts_its_key(checkout, monkeypatch):
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    done = bash(documents.block("bash", "keys-file"), checkout)
    assert done.returncode == 0, done.stderr
    key = done.stdout.split(": ")[1].strip()
    keys = Keyring.from_settings(load(None, api_keys_file=checkout / "keys.txt"))
    assert keys.find(key.encode()).name == "alice"
    assert keys.find(b"another") is None
    assert key not in (checkout / "keys.txt").read_text()


def test_docker(checkout, tmp_path):
    """The commands, with a stand-in that writes down what it is asked for."""
    image = Dockerfile.ours()
    path = program(tmp_path / "bin", "docker", 'printf "%s\\n" "$@" >> calls; echo "$CSM_API_KEYS" > key')
    done = bash(documents.block("bash", "docker-gpu"), checkout, PATH=path)
    assert done.returncode == 0, done.stderr
    words = (checkout / "calls").read_text().split("\n")
    run = words[words.index("run") : words.index("logs")]
    assert words[: words.index("run")] == ["build", "-t", "csm-server", "."]
    assert run[-1] == "csm-server"
    assert run[run.index("--publish") + 1].endswith(f":{image.last('EXPOSE')}")
    volume = run[run.index("--volume") + 1].split(":")[1]
    assert image.environment["HF_HOME"].startswith(volume + "/")
    assert [run[index + 1] for index, word in enumerate(run) if word == "--env"] == ["HF_TOKEN", "CSM_API_KEYS"]
    assert len((checkout / "key").read_text().strip()) == 48


def test_an_image_with_the_weights(checkout, tmp_path):
    """Linted; and its command with the demo model in place of gigabytes."""
    text = documents.block("dockerfile", "weights")
    (tmp_path / "Dockerfile").write_text(text)
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, "--ignore", "DL3006", tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    image = Dockerfile(text)
    assert image.all("FROM") == ["csm-server"] and image.environment.keys() == {"CSM_MODEL"}
    _, *command = json.loads(image.last("RUN"))
    environment = os.environ | {"CSM_MODEL": "demo", "CSM_HOST": "0.0.0.0", "PYTHONPATH": str(documents.ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("demo is in "), done.stderr


def test_docker_for_a_cpu(checkout, tmp_path):
    path = program(tmp_path / "bin", "docker", 'printf "%s\\n" "$@" > calls')
    assert bash(documents.block("bash", "docker-cpu"), checkout, PATH=path).returncode == 0
    words = (checkout / "calls").read_text().split()
    assert Dockerfile.ours(words[words.index("--target") + 1]).last("USER") == Dockerfile.ours().last("USER")
