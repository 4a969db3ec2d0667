"""The cost of the HTTP layer is measured on the real server."""

import re
import subprocess
import sys

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.slow


def test_both_figures_are_printed_for_both_uploads() -> None:
    command = [sys.executable, "-m", "benchmarks.web", "--requests", "4", "--chunks", "3"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    assert len(re.findall(r"request +p10 .* median +\d+\.\d+ ms", told)) == 2
    assert len(re.findall(r"chunk +p10 .* median +\d+\.\d+ ms", told)) == 2


def test_a_refused_request_is_not_measured(tmp_path) -> None:
    (tmp_path / "large").write_bytes(bytes(30_000_000))
    command = [sys.executable, "-m", "benchmarks.web", "--reference", str(tmp_path / "large")]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 1 and refused.stderr.splitlines()[-1].startswith("413")
