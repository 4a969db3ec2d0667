"""`make` and `.ci/run`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


OUTER = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
COMMANDS = [
    ("demo", "examples/demo.py"),
    ("test", "-m pytest --numprocesses logical --maxprocesses 8 --dist worksteal"),
    ("serve", "sesame_server.py"),
]


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


def test_help_lists_every_target():
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert re.findall(r"^  make (\S+)", make("help", dry=False), re.MULTILINE) == phony[1].split()


@pytest.mark.parametrize("target", ["demo", "test", "serve"])
def test_the_first_run_sets_up(tmp_path, target):
    commands = make(target, f"VENV={tmp_path}/new")
    assert f"-m venv {tmp_path}/new" in commands
    assert "--editable ." in commands
    assert "import torch, torchaudio" in commands
    assert ("-r requirements-dev.txt" in commands) == (target == "test")


@pytest.mark.parametrize(("target", "command"), COMMANDS)
def test_later_runs_start_at_once(venv, target, command):
    assert make(target, f"VENV={venv}").split() == [f"{venv}/bin/python", *command.split()]


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


def test_ci_runs_the_checks_and_all_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert re.findall(r"^make (\S+)", script.read_text(), re.MULTILINE) == ["check", "test", "test-floor", "test-slow"]


def test_the_floor_is_the_one_that_is_required(venv):
    floor = re.search(r"^transformers>=([\d.]+),", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert floor and f"transformers=={floor[1]}\n" in make("test-floor", f"VENV={venv}")
