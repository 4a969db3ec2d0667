"""Fixtures of all tests: no settings from outside, and tiny checkpoints made once."""

import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csm import log
from tests import summary_tables

PREFIXES = ("CSM_", "HF_")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the environment, keep the Hub's client offline, and leave speech unmarked.

    Many tests know the exact samples; those of the watermark turn it on.
    """
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CSM_WATERMARK", "off")


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Return all that is logged meanwhile, as the server would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.TextFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the folder of a tiny random checkpoint by the name of its size."""
    folders: dict[str, Path] = {}

    def folder(name: str = "small") -> Path:
        # Imports torch, which the tests of HTTP do without.
        from tests import tiny_checkpoints

        if name not in folders:
            folders[name] = tiny_checkpoints.save(tmp_path_factory.mktemp(name), tiny_checkpoints.SIZES[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a Chromium, one for all tests of a process, because Playwright allows no second one beside it."""
    # Imports Playwright, which most tests do without.
    from tests.browser import chromium

    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of one tiny model in a layout of published repositories; see `tests.checkpoint_layouts`."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        from tests import checkpoint_layouts

        if name not in folders:
            folders[name] = checkpoint_layouts.LAYOUTS[name](tmp_path_factory.mktemp("layout") / name, folder)
        return folders[name]

    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the tables of a process that ran tests beside this one."""
    summary_tables.tables(node.config).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the tables of this process to the one that started it."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["tables"] = summary_tables.tables(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables, and how often each fault was tried."""
    # Counted here, because the conftest of their folder is not read where tests run side by side.
    faults = summary_tables.outcomes(terminalreporter.stats, "tests/faults/")
    if faults:
        summary_tables.add(config, "Faults", ("class", "tried", "passed"), faults)
    for table in summary_tables.tables(config):
        terminalreporter.write_line("\n" + table)
