"""Files that are missing, cut off, damaged or others than the published ones are told, without reading gigabytes."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from csm.verify import files
from csm.verify.files import check_files
from csm.verify.golden import CSM_1B, Golden, git_id, pointer_id
from tests import checkpoint_layouts

SHARD = checkpoint_layouts.SHARDS[1]


@pytest.fixture
def known(golden_file: Callable[..., Path]) -> Golden:
    return Golden.load(golden_file())


def test_the_published_files_pass(folder: Path, known: Golden) -> None:
    finding, weights = check_files(folder, known, thorough=False)
    assert finding.result == "passed" and finding.values["confirmed"] == len(checkpoint_layouts.NEEDED)
    assert set(weights.files) == set(checkpoint_layouts.SHARDS) and weights.tensors == 142 and not weights.rounded


@pytest.mark.parametrize(("name", "rounded"), [("today", False), ("unsloth", True)])
def test_another_layout_is_checked_by_its_own_headers(name: str, rounded: bool, layout: Callable[[str], Path]) -> None:
    finding, weights = check_files(layout(name), None, thorough=False)
    assert finding.result == "passed" and list(weights.files) == ["model.safetensors"]
    assert weights.rounded == rounded


def no_shard(folder: Path) -> None:
    (folder / SHARD).unlink()


def cut_off(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data[:-10])


def damaged_header(folder: Path) -> None:
    data = bytearray((folder / SHARD).read_bytes())
    data[8:200] = b"\xff" * 192
    (folder / SHARD).write_bytes(data)


def empty(folder: Path) -> None:
    (folder / SHARD).write_bytes(b"")


def tensor_less(folder: Path) -> None:
    tensors = load_file(folder / SHARD)
    tensors.pop("lm_head.weight")
    save_file(tensors, folder / SHARD, {"format": "pt"})


def no_index(folder: Path) -> None:
    (folder / checkpoint_layouts.INDEX).unlink()


def damaged_index(folder: Path) -> None:
    (folder / checkpoint_layouts.INDEX).write_text('{"weight_map": ')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_shard, f"{SHARD} is missing"),
        (cut_off, f"{SHARD} has"),
        (damaged_header, f"{SHARD} is damaged"),
        (empty, f"{SHARD} is damaged"),
        (tensor_less, f"{SHARD} lacks lm_head.weight"),
        (no_index, "list of the weights' files"),
        (damaged_index, "list of the weights' files"),
    ],
)
def test_incomplete_weights_fail_with_their_name_and_a_remedy(
    damage: Callable[[Path], None], words: str, folder: Path
) -> None:
    damage(folder)
    finding, _ = check_files(folder, None, thorough=False)
    assert finding.result == "failed" and words in finding.detail and "fetch it again" in finding.detail


def test_a_file_that_differs_and_one_that_is_missing_fail(folder: Path, known: Golden) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "special_tokens_map.json").unlink()
    finding, _ = check_files(folder, known, thorough=False)
    assert finding.result == "failed" and f"CSM_REVISION={known.revision}" in finding.detail
    assert "tokenizer_config.json differs" in finding.detail
    assert "special_tokens_map.json is missing" in finding.detail


def test_a_file_of_which_only_the_name_is_known_must_be_there(folder: Path, golden_file: Callable[..., Path]) -> None:
    known = Golden.load(golden_file(files={"chat_template.jinja": None}))
    assert check_files(folder, known, thorough=False)[0].result == "passed"
    (folder / "chat_template.jinja").unlink()
    assert check_files(folder, known, thorough=False)[0].result == "failed"


@pytest.fixture
def large(folder: Path, monkeypatch: pytest.MonkeyPatch, golden_file: Callable[..., Path]) -> Golden:
    """Golden values in which the shards are known by their pointers, because they are large."""
    monkeypatch.setattr(files, "SMALL", 1000)
    monkeypatch.setattr(files, "HASHED_ALWAYS", 2000)
    known = {}
    for name in checkpoint_layouts.SHARDS:
        data = (folder / name).read_bytes()
        known[name] = pointer_id(hashlib.sha256(data).hexdigest(), len(data))
    return Golden.load(golden_file(files=known))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_large_files_are_read_only_when_asked_for(folder: Path, large: Golden) -> None:
    flip(folder / SHARD)
    assert check_files(folder, large, thorough=False)[0].result == "passed"
    finding, _ = check_files(folder, large, thorough=True)
    assert finding.result == "failed" and f"{SHARD} differs" in finding.detail


def test_the_cache_of_the_hub_says_what_large_files_should_be(folder: Path, large: Golden, tmp_path: Path) -> None:
    for name in checkpoint_layouts.SHARDS:
        blob = tmp_path / hashlib.sha256((folder / name).read_bytes()).hexdigest()
        shutil.move(folder / name, blob)
        (folder / name).symlink_to(blob)
    finding, _ = check_files(folder, large, thorough=False)
    assert finding.result == "passed" and finding.values["confirmed"] == 2
    other = (folder / SHARD).resolve().rename(tmp_path / ("0" * 64))
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to(other)
    assert check_files(folder, large, thorough=False)[0].result == "failed"


def test_ids_are_those_of_git_and_its_pointers() -> None:
    assert git_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    # The pointer of a file of five bytes, written out as the specification of Git LFS has it.
    digest = hashlib.sha256(b"hello").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 5\n"
    assert pointer_id(digest, 5) == git_id(pointer.encode())


def test_the_values_of_csm_1b_are_complete() -> None:
    known = Golden.load()
    assert set(known.files) == checkpoint_layouts.NEEDED
    assert all(len(frame) == 32 and max(frame) < 2048 for frame in known.speech["frames"])
    assert len(known.speech["frames"]) == 10 and len(known.prompt["ids"]) == 11
    assert json.loads(CSM_1B.read_text())["repository"] in known.models
