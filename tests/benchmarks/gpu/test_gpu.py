"""`python -m benchmarks.gpu` as a whole: what it needs, and a dry run."""

import contextlib
import json
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import __main__ as gpu
from tests.paths import ROOT


@pytest.mark.slow
def test_dry_run(tmp_path):
    """The whole script, every stage in its own process."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    command += ["--frames", "12", "--streams", "1", "4", "--rounds", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert {stage["status"] for stage in content["stages"].values()} == {"done"}
    assert list(content["stages"]) == list(gpu.LIMITS)
    assert (tmp_path / "gpu.png").stat().st_size > 10_000
    for expected in (
        "18 of 18 give the same codes",
        "12 of 12 frames equal",
        "| 4 |",
        "requests/s",
        "first audio, cached",
    ):
        assert expected in ran.stdout


BESIDE_TORCH = {"transformers", "regex", "pydantic-settings", "pydantic", "pydantic-core", "python-dotenv"} | {
    "annotated-types",
    "typing-inspection",
}
"""What the docstring of `benchmarks.gpu.__main__` names, beyond what a machine with PyTorch and tokenizers has."""


@pytest.mark.slow
def test_it_starts_where_nothing_is_installed_but_what_its_docstring_names():
    there = BESIDE_TORCH | {"csm-server"} | closure({"torch", "numpy", "safetensors", "tokenizers"})
    owners = metadata.packages_distributions()
    absent = [module for module, names in owners.items() if not there & set(map(canonicalize_name, names))]
    assert {"flask", "imageio_ffmpeg", "matplotlib", "psutil", "torchaudio", "openvino"} <= set(absent)
    script = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); import benchmarks.gpu.stages, benchmarks.gpu.__main__"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
    assert all(name in str(gpu.__doc__) for name in BESIDE_TORCH)


def closure(names: set[str]) -> set[str]:
    """These distributions and all that they require, without extras."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):
                needed = [Requirement(line) for line in metadata.requires(name) or ()]
                names |= {r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    return found
