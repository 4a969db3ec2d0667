"""`csm prepare`: the weights are there, and quantised, before a server starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from csm import cli
from csm.engine.openvino.bundle import folder_of
from csm.engine.openvino.prepare import DONE
from csm.model.checkpoint import open_checkpoint
from csm.settings import load
from tests.model import fake_hub
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CSM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_int8_is_prepared_once(
    tiny: Callable[..., Path], cache: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.main(["prepare", "--model", str(tiny()), "--precision", "int8"]) == 0
    folder = folder_of(load(), open_checkpoint(tiny()), "int8")
    assert capsys.readouterr().out == f"{tiny()} is in {tiny()}\nint8 is in {folder}\n"
    assert "a few minutes" in caplog.text
    assert folder.parent == cache and (folder / DONE).exists()
    made = (folder / DONE).stat().st_mtime_ns
    assert cli.main(["prepare", "--model", str(tiny()), "--precision", "int8"]) == 0
    assert (folder / DONE).stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("words", "device"), [(["--precision", "float32"], "cpu"), (["--precision", "bfloat16"], "cuda"), ([], "cuda")]
)
def test_floats_need_no_preparing_and_an_image_is_built_without_a_gpu(
    words: list[str], device: str, tiny: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSM_DEVICE", device)
    assert cli.main(["prepare", "--model", str(tiny()), *words]) == 0
    assert not cache.exists()


def test_a_repository_is_downloaded_with_progress(tiny: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "csm", "prepare", "--model", "good/model", "--precision", "float32"]
    given = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with fake_hub.hub(fake_hub.files_in(tiny())) as hub:
        given |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "CSM_HOST": "0.0.0.0"}
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().removeprefix("good/model is in "))
    assert (folder / "config.json").read_bytes() == (tiny() / "config.json").read_bytes()
    assert list(folder.glob("*.safetensors")) and "100%" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--model", "./nothing"], 1, "no checkpoint there"),
        (["--model", "demo", "--precision", "int2"], 2, "invalid choice"),
    ],
)
def test_what_goes_wrong_is_told(words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert cli.main(["prepare", *words]) == status
    except SystemExit as left:  # argparse's
        assert left.code == status
    assert told in capsys.readouterr().err


def test_wrong_settings_are_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CSM_PRECISON", "int8")
    assert cli.main(["prepare", "--model", "demo"]) == 2
    assert "CSM_PRECISION" in capsys.readouterr().err
