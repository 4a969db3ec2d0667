"""What every test starts from: no settings from outside, and tiny checkpoints made once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tables

OURS = ("CSM_", "HF_")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(OURS) or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of tiny random checkpoints, by the name of their size."""
    folders: dict[str, Path] = {}

    def folder(name: str = "small") -> Path:
        # Imports torch, which the tests of HTTP do without.
        from tests import checkpoints

        if name not in folders:
            folders[name] = checkpoints.save(tmp_path_factory.mktemp(name), checkpoints.SIZES[name])
        return folders[name]

    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for table in config.stash.get(tables.KEY, []):
        terminalreporter.write_line("\n" + table)
