"""Write a checkpoint as the server ships it: float16 shards, processor, facts about itself, and a model card."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CsmForConditionalGeneration, MimiModel

from recipes.demo_model.tokenizer import make_processor

SHARD_SIZE = "15MB"
FACTS = "demo.json"


def export(model: CsmForConditionalGeneration, folder: Path, card: str, facts: dict[str, Any]) -> None:
    """Save everything that `from_pretrained` and the quality tests read.

    Args:
        model: in any precision; it comes back in float16.
        folder: emptied of older shards first.
        card: the text of the model card.
        facts: written to `demo.json`; `trained` says whether the language model was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in folder.glob("model*.safetensors*"):
        shard.unlink()
    forget_cached_codebooks(model.codec_model)
    model.config.codec_config._name_or_path = ""
    model.half().save_pretrained(folder, max_shard_size=SHARD_SIZE)
    for shard in folder.glob("*.safetensors"):
        shard.chmod(0o644)  # the writer goes through private temporary files
    make_processor().save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "README.md").write_text(card)


def load_codec(folder: Path) -> MimiModel:
    """The codec of a Mimi folder or of a whole CSM folder, in float32.

    Raises:
        ValueError: the folder holds another kind of model.
    """
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    if kind == "mimi":
        return MimiModel.from_pretrained(folder, dtype=torch.float32).eval()
    if kind == "csm":
        return CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).codec_model.eval()
    raise ValueError(f"a codec or a CSM is needed, not a model of type {kind}")


def save_codec(codec: MimiModel, folder: Path) -> None:
    """Write a copy in float16, with codebooks as plain codes: sums of rarely chosen ones would lose digits."""
    copy = MimiModel(codec.config).eval()
    copy.load_state_dict(codec.state_dict())
    for module in copy.modules():
        if hasattr(module, "embed_sum"):
            module.embed_sum /= module.cluster_usage.clamp(min=module.epsilon)[:, None]
            module.cluster_usage.fill_(1.0)
    copy.config._name_or_path = ""
    copy.half().save_pretrained(folder)


def forget_cached_codebooks(codec: MimiModel) -> None:
    """Drop the codebooks that Mimi computed once from sums and counts that have changed since."""
    for module in codec.modules():
        if hasattr(module, "embed_sum"):
            module._embed = None
