"""The fused kernels compute what PyTorch's do."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton comes with torch's CUDA builds for Linux")


def test_every_kernel_agrees_with_pytorch_in_tritons_interpreter() -> None:
    # A process of its own: Triton decides at import whether it interprets.
    command = [sys.executable, "-m", "tests.model.fused_check"]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "all kernels agree" in done.stdout, done.stderr
