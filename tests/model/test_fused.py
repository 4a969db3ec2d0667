"""The fused kernels compute what PyTorch's do, and compile for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton comes with torch's CUDA builds for Linux")


@pytest.mark.parametrize(
    ("module", "interpret", "expected"), [("check", "1", "all kernels agree"), ("compile", "0", "all kernels compile")]
)
def test_kernels_agree_with_pytorch_and_compile(module: str, interpret: str, expected: str, tmp_path: Path) -> None:
    # Processes of their own: Triton decides at import whether it interprets.
    settings = {"TRITON_INTERPRET": interpret, "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", f"tests.model.fused_{module}"]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0 and expected in done.stdout, done.stderr
