"""Tables that tests leave at the end of a run, passed or failed: class, tried, passed; or what was measured."""

from collections.abc import Sequence

import pytest

KEY = pytest.StashKey[list[str]]()


def add(config: pytest.Config, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table after all tests have run."""
    cells = [[*map(str, header)], *([*map(_shown, row)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    config.stash.setdefault(KEY, []).append("\n".join([title, *lines]))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
