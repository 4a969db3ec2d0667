import os
import pickle
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from csm.audio.watermark import perth as module
from csm.audio.watermark import weights
from csm.audio.watermark.perth import Perth
from csm.errors import ModelUnavailable


def test_the_weights_are_found_without_importing_torch_or_the_package():
    program = (
        "import sys\n"
        "from csm.audio.watermark import weights\n"
        "print(weights.weights_file())\n"
        "sys.exit(bool({'torch', 'perth', 'librosa', 'pkg_resources'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and Path(done.stdout.strip()).is_file()


def test_a_missing_package_is_told_with_the_remedy(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    weights.check(False)
    with pytest.raises(ModelUnavailable, match=r"pip install resemble-perth.*CSM_WATERMARK=off"):
        weights.check(True)


class Payload:
    """Runs a program when it is unpickled."""

    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def test_weights_that_contain_code_or_are_damaged_are_refused(tmp_path, monkeypatch):
    file, touched = tmp_path / "weights", tmp_path / "touched"
    monkeypatch.setattr(module, "weights_file", lambda: file)
    torch.save({"model": {}, "step": Payload(touched)}, file)
    with pytest.raises(ModelUnavailable, match=r"force-reinstall resemble-perth.*CSM_WATERMARK=off"):
        Perth.load()
    assert not touched.exists()
    torch.save({"model": {"encoder.layers.0.conv.weight": torch.zeros(2)}}, file)
    with pytest.raises(ModelUnavailable, match="force-reinstall"):
        Perth.load()
    for content in (b"", b"damaged" * 100, pickle.dumps({"model": {}})):
        file.write_bytes(content)
        with pytest.raises(ModelUnavailable, match="force-reinstall"):
            Perth.load()
