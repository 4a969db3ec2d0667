"""Make the checkpoint that stands in until a trained one exists: a real codec under a random language model.

    python -m recipes.demo_model.initialise --codec FOLDER --out csm/assets/demo
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import CsmForConditionalGeneration, MimiModel

from recipes.demo_model.architecture import DEMO, ModelSize, build
from recipes.demo_model.card import RANDOM_CARD
from recipes.demo_model.export import export, load_codec

SHIPPED = Path(__file__).parents[2] / "csm" / "assets" / "demo"


def initialise(codec: MimiModel, size: ModelSize = DEMO, seed: int = 0) -> CsmForConditionalGeneration:
    """A CSM around `codec` whose every other weight is random; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = build(size, codec.config)
    model.codec_model.load_state_dict(codec.state_dict())
    return model


def facts_of(model: CsmForConditionalGeneration, trained: bool, scores: dict[str, float]) -> dict[str, Any]:
    """What the checkpoint says about itself in `demo.json`."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"trained": trained, "parameters": count, "scores": scores}


def main() -> None:
    """Write the random demo checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", type=Path, default=SHIPPED, help="a Mimi or CSM folder (default: the shipped demo)")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the checkpoint goes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = initialise(load_codec(arguments.codec), seed=arguments.seed)
    export(model, arguments.out, RANDOM_CARD, facts_of(model, trained=False, scores={}))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
