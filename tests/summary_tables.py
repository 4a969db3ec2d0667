"""Tables that tests print at the end of a run: how often each case was tried and passed, or what was measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

KEY = pytest.StashKey[list[str]]()


def add(config: pytest.Config, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table after all tests have run."""
    cells = [[*map(str, header)], *([*map(_shown, row)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    tables(config).append("\n".join([title, *lines]))


def tables(config: pytest.Config) -> list[str]:
    """Return the tables of this run so far."""
    return config.stash.setdefault(KEY, [])


def outcomes(stats: Mapping[str, Sequence[Any]], folder: str) -> list[tuple[str, int, int]]:
    """Return how often each test of a folder was run, over all parameters, and how often it passed."""
    reports = [report for kind in ("passed", "failed", "error") for report in stats.get(kind, ())]
    ours = [report for report in reports if report.nodeid.startswith(folder)]
    tried = Counter(_name(report.nodeid) for report in ours)
    passed = Counter(_name(report.nodeid) for report in ours if report.passed)
    return [(name, count, passed[name]) for name, count in sorted(tried.items())]


def _name(nodeid: str) -> str:
    """Return a name for a test without its parameters."""
    path, _, function = nodeid.partition("[")[0].partition("::")
    module = path.rpartition("test_")[2].removesuffix(".py")
    return f"{module}: {function.removeprefix('test_').replace('_', ' ')}"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
