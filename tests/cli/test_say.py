"""`csm say`, with a tiny model loaded here and with the real server."""

import io
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

import csm
from csm import cli
from csm.audio.decode import decode
from csm.audio.encoders.pcm import pcm16
from csm.audio.encoders.wav import streaming_header
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port
from tests.real_server import RealServer, real_server
from tests.reference_audio import VOICE

SAY = ["say", "--voice", str(VOICE), "--seed", "3", "--max-seconds", "0.8"]


@pytest.fixture
def folder(tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny checkpoint, which the settings name; run from an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODEL": str(tiny()), "PRECISION": "float32", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"CSM_{name}", value)
    return tiny()


def frames(path: Path) -> bytes:
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        return wav.readframes(wav.getnframes())


def test_the_file_holds_what_the_python_api_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SAY, "--text", "Hello there.", "--transcript", "Heard.", "-o", "out.wav"]) == 0
    with csm.load(str(folder), slots=1) as model:
        speech = model.say("Hello there.", VOICE, "Heard.", seed=3, max_seconds=0.8)
    assert frames(Path("out.wav")) == pcm16(speech.samples)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"loading {folder}\n") and "out.wav: 0.8 s of audio, real-time factor" in told.err


def test_recording_and_speech_are_drawn(folder: Path) -> None:
    for seed in ("3", "4"):
        say = [*SAY, "--text", "Hello there.", "-q", "-o", "out.wav", "--plot", f"{seed}.png", "--seed", seed]
        assert cli.main(say) == 0
    one, other = (matplotlib.image.imread(f"{seed}.png") for seed in ("3", "4"))
    assert one.shape == other.shape and one.shape[0] > one.shape[1] / 2, "two recordings, one above the other"
    half = len(one) // 2
    assert (one[: half - 40] == other[: half - 40]).all() and (one[half:] != other[half:]).any()


def test_without_matplotlib_nothing_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main([*SAY, "--text", "Hello there.", "-o", "out.wav", "--plot", "out.png"]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err and not Path("out.wav").exists()


def test_the_file_has_the_format_of_its_suffix(folder: Path) -> None:
    assert cli.main([*SAY, "--text", "Hello there.", "-q", "-o", "out.wav"]) == 0
    for name in ("out.FLAC", "out.mp3", "out.opus"):
        assert cli.main([*SAY, "--text", "Hello there.", "-q", "-o", name]) == 0
        encoded = Path(name).read_bytes()
        assert encoded[:4] in (b"fLaC", b"OggS") or encoded[0] == 0xFF
        assert decode(encoded, 5.0).seconds == pytest.approx(0.8, abs=0.001)
    lossless = np.rint(decode(Path("out.FLAC").read_bytes(), 5.0).samples * 32768).astype("<i2").tobytes()
    assert lossless == frames(Path("out.wav"))


def test_the_text_may_come_in_and_the_sound_may_go_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.main([*SAY, "--text", "Hello there.", "-o", "out.wav"]) == 0
    capfdbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello there.\n"))
    assert cli.main([*SAY, "--text", "-", "-o", "-", "--quiet"]) == 0
    told = capfdbinary.readouterr()
    assert told.out == streaming_header(24_000) + frames(Path("out.wav"))
    assert told.err == b""


def test_it_is_played(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    player = Path("ffplay")
    player.write_text(f"#!/bin/sh\ncat > {Path.cwd()}/heard.wav\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path.cwd()}{os.pathsep}{os.environ['PATH']}")
    assert cli.main([*SAY, "--text", "Hello there.", "--play", "-o", "out.wav"]) == 0
    assert Path("heard.wav").read_bytes()[44:] == frames(Path("out.wav"))


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--text", "Hi."], 2, "--output"),
        (["--text", "Hi.", "-o", "nowhere/out.wav"], 2, "no folder nowhere"),
        (["--text", "Hi.", "-o", "out.m4a"], 2, "must end with one of .wav, .mp3, .opus, .aac, .flac, .pcm"),
        (["--text", "Hi.", "-o", "out.wav", "--url", "ftp://there"], 2, "http://"),
        (["--text", "Hi.", "-o", "out.wav", "--url", "http://there", "--model", "demo"], 2, "not allowed with"),
        (["--text", "Hi.", "-o", "out.wav", "--top-k", "0"], 1, "top_k must be"),
        (["--text", "Hi.", "-o", "out.wav", "--speed", "3"], 1, "speed must be a number from 0.5 to 2"),
        (["--text", " ", "-o", "out.wav"], 1, "there is nothing to say"),
        (
            ["--text", "Hi.", "-o", "out.wav", "--voice", "missing.m4a"],
            1,
            "missing.m4a is neither a file here nor a stored voice",
        ),
        (["--text", "Hi.", "-o", "out.wav", "--voice", "notes.txt"], 1, "not audio"),
        (["--text", "Hi.", "-o", "out.wav", "--model", "./nothing"], 1, "no checkpoint there"),
    ],
)
def test_what_goes_wrong_is_told_by_status_and_words(
    folder: Path, words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("Words, not sound. " * 100)
    assert _status([*SAY, *words]) == status
    assert told in capsys.readouterr().err
    assert not Path("out.wav").exists()


def test_wrong_settings_are_a_usage_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CSM_DEVICE", "abacus")
    assert _status([*SAY, "--text", "Hi.", "-o", "out.wav"]) == 2
    assert "CSM_DEVICE" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert _status([*SAY, "--text", "Hi.", "-o", "out.wav", "--url", url]) == 1
    assert f"{url}/clone-voice cannot be reached" in capsys.readouterr().err


def _status(words: list[str]) -> Any:
    try:
        return cli.main(words)
    except SystemExit as left:  # argparse's
        return left.code


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(tmp_path_factory.mktemp("server"), require_consent="1") as server:
        yield server


def remote(server: RealServer, *words: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    url = f"http://127.0.0.1:{server.port}"
    command = [sys.executable, "-m", "csm", *SAY, "--text", "Hello there.", "--url", url, *words]
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=server.log.parent, env=given, capture_output=True)


@pytest.mark.slow
def test_an_interruption_ends_it_without_a_file(folder: Path) -> None:
    words = [*SAY[:-2], "--text", "One, two, three. " * 50, "--temperature", "1.5", "-o", "out.wav", "--play"]
    Path("ffplay").write_text(
        f"#!/bin/sh\nhead -c 5000 > {Path.cwd()}/heard.wav; touch {Path.cwd()}/hears; exec sleep 600\n"
    )
    Path("ffplay").chmod(0o755)
    given = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path.cwd()}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "csm", *words]
    # A shell's background job, such as a CI run may be, ignores the signal, and its children inherit that.
    process = subprocess.Popen(
        command,
        env=given,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(Path("hears").exists, 60)
    # As a terminal does: the player gets the signal too. It does not read on, so that the audio cannot be over already.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in errors
    assert not Path("out.wav").exists()


def test_the_speed_may_be_chosen(folder: Path) -> None:
    assert cli.main([*SAY, "--text", "Hello there.", "-q", "--speed", "1.5", "-o", "out.wav"]) == 0
    with csm.load(str(folder), slots=1) as model:
        speech = model.say("Hello there.", VOICE, seed=3, max_seconds=0.8, speed=1.5)
    assert frames(Path("out.wav")) == pcm16(speech.samples)


@pytest.mark.slow
def test_a_server_says_it(server: RealServer) -> None:
    done = remote(server, "--key", "secret", "--consent", "-o", "there.wav", "--transcript", "Heard.")
    assert done.returncode == 0 and b"there.wav: 0.8 s of audio, real-time factor" in done.stderr
    with csm.load("demo") as model:
        here = model.say("Hello there.", VOICE, "Heard.", seed=3, max_seconds=0.8)
    there, spoken = frames(server.log.parent / "there.wav"), pcm16(here.samples)
    # The server may have been given another number of threads, which reaches the last bit of a sample.
    distance = np.frombuffer(there, "<i2").astype(int) - np.frombuffer(spoken, "<i2")
    assert np.abs(distance).max() <= 1


@pytest.mark.slow
def test_what_a_server_says_has_the_format_of_the_suffix(server: RealServer) -> None:
    assert remote(server, "--key", "secret", "--consent", "-o", "said.mp3").returncode == 0
    assert decode((server.log.parent / "said.mp3").read_bytes(), 5.0).seconds == pytest.approx(0.8, abs=0.001)


@pytest.mark.slow
def test_the_key_may_come_from_the_environment(server: RealServer) -> None:
    done = remote(server, "--consent", "-o", "-", "-q", VOICE_SERVER_KEY="secret")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout[:4] == b"RIFF" and len(done.stdout) == 44 + 2 * 10 * 1920


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [(["--key", "wrong", "--consent"], b"answered 401"), (["--key", "secret"], b"consent must be true")],
)
def test_the_servers_refusal_is_told(server: RealServer, words: list[str], told: bytes) -> None:
    done = remote(server, *words, "-o", "refused.wav")
    assert done.returncode == 1 and told in done.stderr and b"Traceback" not in done.stderr
    assert not (server.log.parent / "refused.wav").exists()
