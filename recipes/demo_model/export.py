"""Stage f: write the checkpoint for the repository: float16 shards, processor, facts, and a model card.

    python -m recipes.demo_model.export work/csm/weights --model work/model.json --codec work/codec.json

A model that does not pass the gate is refused. `--unlike` ships one that can be understood, but whose voices are not
like enough; its model card says so.
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

MAX_WER = 0.35
MIN_NEARER_TO_OWN = 0.80
"""The gate: word error rate, and how often a clone is closer to its own reference than to another speaker's."""


def facts_of(
    model: CsmForConditionalGeneration,
    trained: bool,
    scores: dict[str, dict[str, float]],
    codec_steps: int = 0,
    temperatures: tuple[float, float] | None = None,
    gain: float = 1.0,
) -> dict[str, Any]:
    """Return the facts about a checkpoint for `demo.json`; `temperatures` and `gain` as `temper` and `amplify` had."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return {
        "trained": trained,
        "parameters": count,
        "shape": shape_of(model.config),
        "codec_steps": codec_steps,
        "temperatures": temperatures,
        "gain": gain,
        "scores": scores,
    }


def shape_of(config: CsmConfig) -> dict[str, str]:
    """Return the sizes of the parts as text."""
    codec = config.codec_config
    return {
        "backbone": _stack(config),
        "depth_decoder": _stack(config.depth_decoder_config),
        "codec": f"`MimiModel`, {codec.num_quantizers} codebooks of {codec.codebook_size} codes, "
        f"{codec.frame_rate:g} frames per second, {codec.sampling_rate // 1000} kHz",
        "text": "UTF-8 bytes, lower case, and CSM's special tokens",
    }


def passes(scores: dict[str, float]) -> bool:
    """Return whether a model with these scores may be shipped."""
    return scores["wer"] < MAX_WER and scores["nearer_to_own"] >= MIN_NEARER_TO_OWN


def export(model: CsmForConditionalGeneration, folder: Path, facts: dict[str, Any]) -> None:
    """Save everything that `from_pretrained` and the quality tests read.

    Args:
        model: in any precision; it is converted to float16.
        folder: to write to; older shards are removed.
        facts: from `facts_of`, for `demo.json` and the model card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in folder.glob("model*.safetensors*"):
        shard.unlink()
    forget_cached_codebooks(model.codec_model)
    model.config.codec_config._name_or_path = ""
    model.half().save_pretrained(folder, max_shard_size=SHARD_SIZE)
    for shard in folder.glob("*.safetensors"):
        shard.chmod(0o644)  # safetensors writes through temporary files that only the owner may read
    make_processor().save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "README.md").write_text(model_card(facts))


@torch.no_grad()
def temper(model: CsmForConditionalGeneration, first: float, others: float) -> None:
    """Scale the logits so that sampling at the default temperature gives what other temperatures gave.

    A small model is less certain than CSM-1B, whose default temperature all clients use.

    Args:
        model: is changed.
        first: temperature at which first codes are to be drawn.
        others: that of all other codes.
    """
    default = model.generation_config.temperature
    model.lm_head.weight.mul_(default / first)
    model.depth_decoder.codebooks_head.weight.mul_(default / others)


@torch.no_grad()
def amplify(codec: MimiModel, gain: float) -> None:
    """Multiply the samples that a codec decodes by `gain`."""
    last = codec.decoder.decoder_seanet.layers[-1].conv
    last.weight.mul_(gain)
    last.bias.mul_(gain)


def load_to_train(folder: Path) -> CsmForConditionalGeneration:
    """Load a CSM in float32, as it was before `temper` and `amplify`."""
    model = CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    facts = json.loads((folder / FACTS).read_text()) if (folder / FACTS).exists() else {}
    if temperatures := facts.get("temperatures"):
        default = model.generation_config.temperature
        temper(model, *(default**2 / one for one in temperatures))
    amplify(model.codec_model, 1 / facts.get("gain", 1.0))
    return model


def load_codec(folder: Path) -> MimiModel:
    """Load the codec of a folder with a Mimi or a CSM, in float32, as it was before `amplify`.

    Raises:
        ValueError: the folder has another kind of model.
    """
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    if kind == "mimi":
        return MimiModel.from_pretrained(folder, dtype=torch.float32).eval()
    if kind == "csm":
        return load_to_train(folder).codec_model.eval()
    raise ValueError(f"a codec or a CSM is needed, not a model of type {kind}")


def save_codec(codec: MimiModel, folder: Path) -> None:
    """Write a copy of a codec in float16, in parts of at most `SHARD_SIZE`.

    Codebooks are written as vectors with usage 1: sums of rarely used codes would lose precision.
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
    """Drop the codebooks that Mimi caches, since their sums and counts have changed."""
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
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs=2,
        metavar=("FIRST", "OTHERS"),
        help="at which it speaks best, of the first code of a frame and of the others: they become the default",
    )
    parser.add_argument("--unlike", action="store_true", help="ship it even if its voices do not pass the gate")
    parser.add_argument("--gain", type=float, default=1.0, help="by which the codec's output becomes louder")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    scores = {"codec": json.loads(arguments.codec.read_text()), "model": json.loads(arguments.model.read_text())}
    passed = passes(scores["model"])
    if not passed and not (arguments.unlike and scores["model"]["wer"] < MAX_WER):
        parser.error(f"the gate is a word error rate below {MAX_WER} and {MIN_NEARER_TO_OWN:.0%} nearer to own")
    model = CsmForConditionalGeneration.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    amplify(model.codec_model, arguments.gain)
    if arguments.temperatures:
        temper(model, *arguments.temperatures)
    facts = facts_of(model, True, scores, arguments.codec_steps, arguments.temperatures, arguments.gain)
    if not passed:
        facts["missed"] = f"at least {MIN_NEARER_TO_OWN:.0%} of the clones nearer to their own reference"
    export(model, arguments.out, facts)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
