"""The threat table names tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_that_the_threat_table_names_exists():
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")]
    named = [path for row in rows for path in re.findall(r"\]\((tests/[^)]+)\)", row)]
    assert len(named) > 30
    for path in set(named):
        assert re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE), path
