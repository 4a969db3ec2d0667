"""Stage f: write a checkpoint as the server ships it: float16 shards, processor, facts about itself, and a model card.

    python -m recipes.demo_model.export work/csm/weights --model work/model.json --codec work/codec.json

Refuses a model that has not passed the gate: the random one is then the better default, for it deceives nobody.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import CsmConfig, CsmForConditionalGeneration, MimiModel
from transformers.models.csm.configuration_csm import CsmDepthDecoderConfig

from recipes.demo_model.card import model_card
from recipes.demo_model.tokenizer import make_processor

SHIPPED = Path(__file__).parents[2] / "csm" / "assets" / "demo"
SHARD_SIZE = "15MB"
FACTS = "demo.json"

HIGHEST_WER = 0.35
LOWEST_NEARER_TO_OWN = 0.80
"""The gate: word error rate, and how often a clone is nearer to its own reference than to a stranger's."""


def facts_of(
    model: CsmForConditionalGeneration, trained: bool, scores: dict[str, dict[str, float]], codec_steps: int = 0
) -> dict[str, Any]:
    """What the checkpoint says about itself in `demo.json`."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return {
        "trained": trained,
        "parameters": count,
        "shape": shape_of(model.config),
        "codec_steps": codec_steps,
        "scores": scores,
    }


def shape_of(config: CsmConfig) -> dict[str, str]:
    """The sizes of the parts, in words."""
    codec = config.codec_config
    return {
        "backbone": _stack(config),
        "depth_decoder": _stack(config.depth_decoder_config),
        "codec": f"`MimiModel`, {codec.num_quantizers} codebooks of {codec.codebook_size} codes, "
        f"{codec.frame_rate:g} frames per second, {codec.sampling_rate // 1000} kHz",
        "text": "UTF-8 bytes, lower case, and CSM's special tokens",
    }


def passes(scores: dict[str, float]) -> bool:
    """Whether a model with these scores may be shipped."""
    return scores["wer"] < HIGHEST_WER and scores["nearer_to_own"] >= LOWEST_NEARER_TO_OWN


def export(model: CsmForConditionalGeneration, folder: Path, facts: dict[str, Any]) -> None:
    """Save everything that `from_pretrained` and the quality tests read.

    Args:
        model: in any precision; it comes back in float16.
        folder: emptied of older shards first.
        facts: from `facts_of`; written to `demo.json` and told in the model card.
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
    (folder / "README.md").write_text(model_card(facts))


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
    """Write a copy in float16, in parts of at most `SHARD_SIZE`.

    Codebooks are written as plain codes: as sums, those of rarely chosen ones would lose digits.
    """
    copy = MimiModel(codec.config).eval()
    copy.load_state_dict(codec.state_dict())
    for module in copy.modules():
        if hasattr(module, "embed_sum"):
            module.embed_sum /= module.cluster_usage.clamp(min=module.epsilon)[:, None]
            module.cluster_usage.fill_(1.0)
    copy.config._name_or_path = ""
    for part in folder.glob("model*.safetensors*"):
        part.unlink()
    copy.half().save_pretrained(folder, max_shard_size=SHARD_SIZE)


def forget_cached_codebooks(codec: MimiModel) -> None:
    """Drop the codebooks that Mimi computed once from sums and counts that have changed since."""
    for module in codec.modules():
        if hasattr(module, "embed_sum"):
            module._embed = None


def _stack(part: CsmConfig | CsmDepthDecoderConfig) -> str:
    heads = f"{part.num_attention_heads} heads / {part.num_key_value_heads} key-value heads of {part.head_dim}"
    return f"{part.num_hidden_layers} layers, width {part.hidden_size}, {heads}"


def main() -> None:
    """Export a trained model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="weights/ of the training stage")
    parser.add_argument("--model", type=Path, required=True, help="its scores, from the evaluation")
    parser.add_argument("--codec", type=Path, required=True, help="the codec's scores, from the evaluation")
    parser.add_argument("--codec-steps", type=int, default=0, help="of the codec stage")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    scores = {"codec": json.loads(arguments.codec.read_text()), "model": json.loads(arguments.model.read_text())}
    if not passes(scores["model"]):
        parser.error(f"the gate is a word error rate below {HIGHEST_WER} and {LOWEST_NEARER_TO_OWN:.0%} nearer to own")
    model = CsmForConditionalGeneration.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    export(model, arguments.out, facts_of(model, trained=True, scores=scores, codec_steps=arguments.codec_steps))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
