"""The arrows between the rooms: what may import what."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_imports_go_down_only():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("model", "import csm.engine"),
        ("engine", "import csm.speech"),
        ("speech", "import csm.web"),
        ("audio", "import csm.model"),
        ("web", "import torch"),
        ("engine", "import flask"),
        ("web", "import csm.cli"),
    ],
)
def test_an_arrow_the_wrong_way_is_found(tmp_path, room, line):
    shutil.copytree(ROOT / "csm", tmp_path / "csm", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "csm" / room / "wrong.py").write_text(line + "\n")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"csm.{room}.wrong" in result.stdout


def test_web_loads_no_torch():
    check = """import sys, csm.web.app, csm.speech
found = {'torch', 'torchaudio', 'transformers', 'openvino'} & sys.modules.keys()
sys.exit(str(found) if found else 0)"""
    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
