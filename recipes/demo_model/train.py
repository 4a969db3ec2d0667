"""Stage d: train the model to say a text in the voice of the turn before.

    python -m recipes.demo_model.train --codec work/codec/weights --tokens work/tokens/*.npz --out work/csm

Stopped at any point (SIGTERM included), the same command goes on where it was. When it
stops, `work/csm/weights` is a complete checkpoint of the model so far.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CsmForConditionalGeneration

from recipes.demo_model import tokens
from recipes.demo_model.alignment import Guide
from recipes.demo_model.architecture import SIZES
from recipes.demo_model.dialogue import NOTHING, Batch, Corpus, Diet, split
from recipes.demo_model.export import export, facts_of, load_codec
from recipes.demo_model.initialise import initialise
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.training import (
    Checkpoint,
    Progress,
    averaged,
    choose_device,
    common_arguments,
    descend,
    learning_rate,
    mixed_precision,
    randomness,
    run,
)

VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: conversations per step.
        steps: over which the learning rate falls and targets grow longer.
        peak: the highest learning rate.
        guide: weight of the loss that makes one head per layer look at the letter being spoken.
        average: decay of the moving average of the weights, which is what is kept.
        bfloat16: matrix products in bfloat16 on a CPU too; it pays where the CPU has instructions for it.
        seed: of everything drawn.
    """

    batch: int = 16
    steps: int = 20_000
    peak: float = 1e-3
    guide: float = 0.3
    average: float = 0.999
    bfloat16: bool = False
    seed: int = 0


class Trainer:
    """A CSM with a frozen codec, and its optimiser."""

    def __init__(self, model: CsmForConditionalGeneration, plan: Plan, device: torch.device) -> None:
        self.model, self.plan, self.device = model.to(device), plan, device
        self.model.codec_model.requires_grad_(False)
        self.average = averaged(self.model, plan.average)
        self.guide = Guide(self.model) if plan.guide else None
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, plan.peak, (0.9, 0.95), weight_decay=0.02)

    def checkpoint(self, path: Path) -> Checkpoint:
        """Everything that the next step depends on."""
        return Checkpoint(path, model=self.model, average=self.average, optimiser=self.optimiser)

    def step(self, step: int, corpus: Corpus) -> dict[str, float]:
        """One batch; returns the losses, in nats per code."""
        self.model.train()
        batch = corpus.draw(self.plan.batch, step / self.plan.steps, randomness(self.plan.seed, step)).to(self.device)
        losses = self._losses(self.model, batch)
        if self.guide:
            losses["guide"] = self.plan.guide * self.guide.loss(batch.places)
        rate = learning_rate(step, self.plan.steps, self.plan.peak)
        descend(self.optimiser, self.model.parameters(), torch.stack([*losses.values()]).sum(), rate)
        self.average.update_parameters(self.model)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def validate(self, corpus: Corpus) -> dict[str, float]:
        """The averaged model's losses on the same few batches every time."""
        model = self.average.module.eval()
        draws = (
            corpus.draw(self.plan.batch, 1.0, randomness(-1 % 2**32, number)) for number in range(VALIDATION_BATCHES)
        )
        losses = [self._losses(model, batch.to(self.device)) for batch in draws]
        return {name: float(np.mean([one[name].item() for one in losses])) for name in losses[0]}

    def _losses(self, model: CsmForConditionalGeneration, batch: Batch) -> dict[str, Tensor]:
        with mixed_precision(self.device, self.plan.bfloat16):
            output = model(inputs_embeds=embed(model, batch.rows), labels=batch.labels, use_cache=False)
        return {"backbone": output.backbone_loss, "depth": output.depth_decoder_loss}


def embed(model: CsmForConditionalGeneration, rows: Tensor) -> Tensor:
    """`[batch, positions, hidden]`, as the model itself embeds text and frames; padding is zero."""
    text, codes = rows[..., -1], rows[..., :-1]
    is_text, is_audio = (text != NOTHING)[..., None], (codes[..., :1] != NOTHING)
    of_text = model.embed_text_tokens(text.clamp(min=0))
    of_audio = model.backbone_model.embed_tokens(codes.clamp(min=0))
    return of_text * is_text + of_audio * is_audio


def train(trainer: Trainer, corpus: Corpus, unheard: Corpus | None, out: Path, progress: Progress) -> int:
    """Go on from the last checkpoint until `progress` says stop; returns the number of steps done in all."""
    checkpoint = trainer.checkpoint(out / "state.pt")
    return run(
        checkpoint,
        progress,
        lambda step: trainer.step(step, corpus),
        lambda step: _save(trainer, checkpoint, step, unheard),
    )


def main() -> None:
    """Train the model."""
    arguments = _parse()
    device = choose_device(arguments.device)
    plan = Plan(
        batch=arguments.batch,
        steps=arguments.steps,
        peak=arguments.peak,
        guide=arguments.guide,
        bfloat16=arguments.bfloat16,
        seed=arguments.seed,
    )
    heard, unheard = split(tokens.read(arguments.tokens))
    corpus = Corpus(heard, make_tokenizer(), _diet(arguments))
    validation = Corpus(unheard, make_tokenizer(), _diet(arguments)) if unheard else None
    print(f"{len(corpus.order)} sentences by {len(corpus.groups)} speakers, on {device}", flush=True)
    codec = load_codec(arguments.codec)
    model = initialise(codec, SIZES[arguments.size], plan.seed)
    trainer = Trainer(model, plan, device)
    progress = Progress(plan.steps, arguments.minutes, save_every=arguments.save_every).stop_on_sigterm()
    done = train(trainer, corpus, validation, arguments.out, progress)
    best = trainer.average.module.cpu()
    best.codec_model.load_state_dict(codec.state_dict())  # its decoder may have learnt on since the run began
    export(best, arguments.out / "weights", facts_of(best, trained=True, scores={}))
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate model ...")


def _save(trainer: Trainer, checkpoint: Checkpoint, step: int, unheard: Corpus | None) -> None:
    checkpoint.save(step)
    if unheard:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in trainer.validate(unheard).items())
        print(f"step {step}: voices never heard: {scores}", flush=True)


def _diet(arguments: argparse.Namespace) -> Diet:
    usual = Diet()
    return Diet(
        references=(usual.references[0], arguments.references),
        longest=(min(usual.longest[0], arguments.longest), arguments.longest),
        depth_share=arguments.depth_share,
    )


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__, Plan.steps, Plan.batch, Plan.peak)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="files written by the token stage")
    parser.add_argument("--size", choices=SIZES, default="demo", help="small takes half the time, tiny a quarter")
    parser.add_argument("--references", type=int, default=Diet.references[1], help="sentences in the longest reference")
    parser.add_argument("--longest", type=int, default=Diet.longest[1], help="frames of the longest target")
    parser.add_argument("--depth-share", type=float, default=Diet.depth_share, help="frames for the depth decoder")
    parser.add_argument("--guide", type=float, default=Plan.guide, help="weight of the attention loss; 0 is none")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU too; a GPU always computes in it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
