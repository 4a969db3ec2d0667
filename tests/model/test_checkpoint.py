"""A checkpoint that is damaged, incomplete or of another model is refused with a reason, and none runs code."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from csm.errors import ModelUnavailable
from csm.model.checkpoint import open_checkpoint

CPU = torch.device("cpu")

START = """
import sys
from pathlib import Path
from csm.settings import load
from csm.speech.build import make_engine, warm_up
for engine in ("csm", "transformers"):
    settings = load(None, model=sys.argv[1], engine=engine, precision="float32", device="cpu")
    warm_up(make_engine(settings, Path(sys.argv[1])))
"""


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
def test_a_model_other_than_csm_is_refused_with_a_reason(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelUnavailable) as told:
        open_checkpoint(folder)
    assert str(folder) not in str(told.value) and "\n" not in str(told.value)


def test_code_in_the_folder_is_never_run(folder: Path) -> None:
    python_files(folder)
    assert load(folder) is not None


def test_a_complete_checkpoint_is_ready_for_inference(folder: Path) -> None:
    model = open_checkpoint(folder).load(torch.float32, CPU)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["sesame", pytest.param("unsloth", marks=pytest.mark.slow)])
def test_loading_a_published_layout_warns_of_nothing(name: str, layout: Callable[[str], Path]) -> None:
    """In a process of its own, because `transformers` repeats none of its warnings."""
    run = subprocess.run([sys.executable, "-c", START, layout(name)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    said = [line for line in re.split(r"[\r\n]+", run.stderr) if line and not line.startswith("Loading weights:")]
    assert said == []


@pytest.mark.parametrize(("published", "ours"), [("sesame", "today"), ("unsloth", "today-bfloat16")])
def test_a_configuration_of_an_old_release_means_the_same(
    published: str, ours: str, layout: Callable[[str], Path]
) -> None:
    old, new = (open_checkpoint(layout(name)).config for name in (published, ours))
    told = {"transformers_version", "architectures", "_name_or_path", "dtype", "_frame_rate"}
    for name in (None, "depth_decoder_config", "codec_config"):
        was, now = (getattr(config, name) if name else config for config in (old, new))
        fields = {field for field, value in now.to_dict().items() if not isinstance(value, dict)} - told
        assert {field: getattr(was, field) for field in fields} == {field: getattr(now, field) for field in fields}
        assert was.rope_parameters == now.rope_parameters
    assert old.codec_config.frame_rate == new.codec_config.frame_rate == 12.5
    assert old.dtype == new.dtype and old.tie_word_embeddings and new.tie_word_embeddings


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_codec_is_float32_in_every_precision(dtype: torch.dtype, layout: Callable[[str], Path]) -> None:
    exact = open_checkpoint(layout("today")).load(torch.float32, CPU).codec_model.state_dict()
    model = open_checkpoint(layout("sesame")).load(dtype, CPU)
    for name, tensor in model.codec_model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, exact[name]), name
    sums = [tensor for name, tensor in exact.items() if name.endswith("embed_sum")]
    assert max(float(tensor.abs().max()) for tensor in sums) > torch.finfo(torch.float16).max
    rest = [weight for name, weight in model.named_parameters() if not name.startswith("codec_model")]
    assert {weight.dtype for weight in rest} == {dtype}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_codec_gives_the_same_codes_and_audio_in_every_precision(
    dtype: torch.dtype, layout: Callable[[str], Path]
) -> None:
    noise = 0.1 * torch.randn(1, 1, 24_000, generator=torch.Generator().manual_seed(0))
    heard = []
    for kind in (torch.float32, dtype):
        codec = open_checkpoint(layout("sesame")).load(kind, CPU).codec_model
        codes = codec.encode(noise).audio_codes
        heard.append((codes, codec.decode(codes).audio_values))
    (codes, sound), (others, other) = heard
    assert torch.equal(codes, others) and torch.equal(sound, other)
    assert sound.isfinite().all() and sound.std() > 0.01


def test_both_audio_embeddings_of_sesame_share_memory(layout: Callable[[str], Path]) -> None:
    model = open_checkpoint(layout("sesame")).load(torch.float32, CPU)
    assert model.backbone_model.embed_tokens.embed_audio_tokens.weight is model.depth_decoder.model.embed_tokens.weight


@pytest.mark.parametrize("part", ["configuration", "weights"])
def test_the_original_layout_is_refused_by_name_with_a_remedy(
    part: str, folder: Path, layout: Callable[[str], Path]
) -> None:
    if part == "configuration":
        shutil.copy(layout("torchtune") / "config.json", folder)
    else:
        shutil.copy(layout("torchtune") / "model.safetensors", folder)
    with pytest.raises(ModelUnavailable, match=r"torchtune.*CSM_MODEL=sesame/csm-1b.*unsloth/csm-1b"):
        load(folder)


def test_unused_tensors_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file(load_file(weights(folder)) | {"spare.weight": torch.zeros(1)}, weights(folder), {"format": "pt"})
    load(folder)
    assert "1 tensors of the weights are not used, such as spare.weight" in caplog.text
