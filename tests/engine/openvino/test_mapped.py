"""Weights read where they lie, and given back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from csm.engine.openvino.mapped import MappedFile

TENSORS = {
    "matrix": torch.arange(6.0).view(2, 3),
    "half": torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
    "number": torch.tensor(7, dtype=torch.int64),
    "flags": torch.tensor([True, False, True]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    return tmp_path / "weights.safetensors"


def test_tensors_are_those_that_safetensors_itself_reads(path: Path) -> None:
    ours, theirs = MappedFile(path).tensors(), load_file(path)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor)


def test_released_pages_read_the_same_again(path: Path) -> None:
    file = MappedFile(path)
    tensors, before = file.tensors(), path.read_bytes()
    file.release_pages()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert file.bytes.tobytes() == before


def test_what_is_written_to_the_memory_never_reaches_the_file(path: Path) -> None:
    before = path.read_bytes()
    MappedFile(path).bytes[:] = np.uint8(0)
    assert path.read_bytes() == before
