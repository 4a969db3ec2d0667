"""A checkpoint that is damaged, incomplete or of another model is refused with a reason, and none runs code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from csm.errors import ModelUnavailable
from csm.model.checkpoint import open_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny(), tmp_path / "copy"))


def load(folder: Path) -> object:
    return open_checkpoint(folder).load(torch.float32, CPU)


def weights(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def truncated(folder: Path) -> None:
    file = weights(folder)
    file.write_bytes(file.read_bytes()[:-1000])


def empty(folder: Path) -> None:
    weights(folder).write_bytes(b"")


def garbled_header(folder: Path) -> None:
    data = bytearray(weights(folder).read_bytes())
    data[8:200] = b"\xff" * 192
    weights(folder).write_bytes(data)


def missing(folder: Path) -> None:
    weights(folder).unlink()


def pickles_only(folder: Path) -> None:
    torch.save(load_file(weights(folder)), folder / "pytorch_model.bin")
    missing(folder)


def one_tensor_less(folder: Path) -> None:
    tensors = load_file(weights(folder))
    tensors.pop("backbone_model.layers.1.mlp.down_proj.weight")
    save_file(tensors, weights(folder), {"format": "pt"})


def another_shape(folder: Path) -> None:
    tensors = load_file(weights(folder))
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].clone()
    save_file(tensors, weights(folder), {"format": "pt"})


def index_of_a_shard_that_is_not_there(folder: Path) -> None:
    names = list(load_file(weights(folder)))
    missing(folder)
    index = {"metadata": {}, "weight_map": {name: "model-00001-of-00001.safetensors" for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        empty,
        garbled_header,
        missing,
        pickles_only,
        one_tensor_less,
        another_shape,
        index_of_a_shard_that_is_not_there,
    ],
)
def test_damaged_weights_are_refused_with_a_reason(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelUnavailable, match=r"the weights (cannot be read|are incomplete)") as told:
        load(folder)
    assert str(folder) not in str(told.value) and "\n" not in str(told.value)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "csm", ')


def another_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:500])


def tokenizer_of_another_kind(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "none such"}}')


def plain_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text())
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] != "<|audio_eos|>"]
    file.write_text(json.dumps(document))


def python_files(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoTokenizer": "evil.Tokenizer"}
    (folder / "config.json").write_text(json.dumps(config))
    file = folder / "tokenizer_config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}})
    )


@pytest.mark.parametrize(
    "damage",
    [
        no_config,
        damaged_config,
        another_model,
        no_tokenizer,
        damaged_tokenizer,
        tokenizer_of_another_kind,
        plain_tokenizer,
    ],
)
def test_what_is_no_csm_is_refused_with_a_reason(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelUnavailable) as told:
        open_checkpoint(folder)
    assert str(folder) not in str(told.value) and "\n" not in str(told.value)


def test_code_in_the_folder_is_never_run(folder: Path) -> None:
    python_files(folder)
    assert load(folder) is not None


def test_a_whole_checkpoint_is_ready_for_inference(folder: Path) -> None:
    model = open_checkpoint(folder).load(torch.float32, CPU)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
