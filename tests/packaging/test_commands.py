"""What `make` installs before it runs something."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


OUTER = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def make(*arguments: str, dry: bool = True) -> str:
    flags = ["--dry-run"] if dry else []
    # Run from within `make test`, the outer make's flags and variables must not reach the inner one.
    environment = {name: value for name, value in os.environ.items() if name not in OUTER}
    result = subprocess.run(["make", *flags, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def venv(tmp_path):
    """An environment that looks fully installed."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    for name in ("bin/python", ".installed", ".installed-dev"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("target", ["demo", "test", "serve"])
def test_the_first_run_sets_up(tmp_path, target):
    commands = make(target, f"VENV={tmp_path}/new")
    assert f"-m venv {tmp_path}/new" in commands
    assert "--editable ." in commands
    assert "import torch, torchaudio" in commands
    assert ("-r requirements-dev.txt" in commands) == (target == "test")


def test_changed_requirements_are_installed(venv):
    os.utime(venv / ".installed", (0, 0))
    commands = make("demo", f"VENV={venv}")
    assert "--editable ." in commands
    assert "-m venv" not in commands


def test_an_old_python_is_refused_with_a_hint(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\necho "Python 3.11 or newer is needed" >&2\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(
        ["make", "demo", f"PYTHON={old}", f"VENV={tmp_path}/venv"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "3.11" in result.stderr
    assert not (tmp_path / "venv").exists()
