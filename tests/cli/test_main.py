"""The command `csm` and how it finds its subcommands."""

import importlib
import subprocess
import sys

import pytest

import csm
from csm import cli
from tests.paths import ROOT


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "csm", *words], cwd=ROOT, capture_output=True, text=True)


def test_help_imports_nothing_but_the_standard_library() -> None:
    check = "import sys; before = set(sys.modules); import csm.cli; csm.cli.main(['--help'])"
    watch = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {check}"
    done = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"torch", "numpy", "pydantic", "flask", "huggingface_hub", "transformers"}
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"csm {csm.__version__}\n"


@pytest.mark.parametrize("words", [[], ["sing"], ["--nonsense"]])
def test_a_wrong_command_is_a_usage_error(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2 and "usage: csm" in done.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_serve_is_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = importlib.import_module("csm.server")
    monkeypatch.setattr(server, "main", lambda: 7)
    assert cli.main(["serve"]) == 7


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("csm.server"), "main", interrupt)
    assert cli.main(["serve"]) == 130
