"""Make a checkpoint of a trained codec and a random language model, which generates noise.

python -m recipes.demo_model.initialise --codec work/codec/weights --out work/noise
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from transformers import CsmForConditionalGeneration, MimiModel

from recipes.demo_model.architecture import DEMO, ModelSize, build, set_generation_defaults
from recipes.demo_model.export import SHIPPED, export, facts_of, forget_cached_codebooks, load_codec


def initialise(codec: MimiModel, size: ModelSize = DEMO, seed: int = 0) -> CsmForConditionalGeneration:
    """Return a CSM with the weights of `codec`; all others are random, and the same for the same seed."""
    torch.manual_seed(seed)
    model = build(size, codec.config)
    model.codec_model.load_state_dict(codec.state_dict())
    _relate_codes(model)
    return model


def with_codec(model: CsmForConditionalGeneration, codec: MimiModel, seed: int = 0) -> CsmForConditionalGeneration:
    """Return a trained CSM with another codec, whose first codes mean the same.

    If the other codes do not, they are to be learnt anew.

    Raises:
        ValueError: the codec has more codebooks than the model.
    """
    if codec.config.num_quantizers > model.config.num_codebooks:
        raise ValueError(f"the model needs a codec with at most {model.config.num_codebooks} codebooks")
    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    config.codec_config = codec.config
    config.num_codebooks = config.depth_decoder_config.num_codebooks = codec.config.num_quantizers
    changed = CsmForConditionalGeneration(config).eval()
    set_generation_defaults(changed)
    known = {f"codec_model.{name}": value for name, value in codec.state_dict().items()}
    known = model.state_dict() | known
    with torch.no_grad():
        for name, value in changed.state_dict().items():
            value.copy_(known[name][tuple(slice(length) for length in value.shape)])  # the first codebooks come first
    forget_cached_codebooks(changed.codec_model)
    if not _same_codes(model.codec_model, codec):
        _relate_codes(changed, first=1)
    return changed


def _same_codes(one: MimiModel, other: MimiModel) -> bool:
    """Return whether two codecs have the same codebooks, apart from float16's precision."""
    ours, theirs = (
        [module.embed for module in codec.quantizer.modules() if hasattr(module, "embed")] for codec in (one, other)
    )
    return len(ours) == len(theirs) and all(
        torch.allclose(mine, its, atol=1e-2, rtol=1e-2) for mine, its in zip(ours, theirs, strict=True)
    )


@torch.no_grad()
def _relate_codes(model: CsmForConditionalGeneration, first: int = 0) -> None:
    """Give codes that sound alike similar embeddings and similar logits, in all codebooks from the `first`.

    Both are random projections of the codec's vectors, so that what is learnt of a code helps with its neighbours.
    """
    quantizer = model.codec_model.quantizer
    layers = [
        *quantizer.semantic_residual_vector_quantizer.layers,
        *quantizer.acoustic_residual_vector_quantizer.layers[: model.config.num_codebooks - 1],
    ]
    tables = [
        model.backbone_model.embed_tokens.embed_audio_tokens.weight,
        model.depth_decoder.model.embed_tokens.weight,
    ]
    heads = [model.lm_head.weight, *model.depth_decoder.codebooks_head.weight.transpose(1, 2)]
    for index, layer in enumerate(layers):
        if index < first:
            continue
        vectors = layer.codebook.embed - layer.codebook.embed.mean(0)
        vectors = vectors / (vectors.square().mean() * vectors.shape[1]).sqrt()
        for weights in (*(table.view(len(layers), -1, table.shape[1])[index] for table in tables), heads[index]):
            projection = torch.randn(vectors.shape[1], weights.shape[1])
            weights[: len(vectors)] = model.config.initializer_range * vectors @ projection


def main() -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", type=Path, default=SHIPPED, help="a Mimi or CSM folder (default: the shipped demo)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--scores", type=Path, help="the codec's, from the evaluation")
    parser.add_argument("--codec-steps", type=int, default=0, help="of the codec stage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scores = {"codec": json.loads(arguments.scores.read_text())} if arguments.scores else {}
    model = initialise(load_codec(arguments.codec), seed=arguments.seed)
    export(model, arguments.out, facts_of(model, trained=False, scores=scores, codec_steps=arguments.codec_steps))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
