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
from recipes.demo_model.dialogue import NOTHING, Batch, Corpus, split
from recipes.demo_model.export import export, facts_of, load_codec
from recipes.demo_model.initialise import initialise
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.training import (
    Checkpoint,
    Progress,
    choose_device,
    learning_rate,
    mixed_precision,
    randomness,
    set_learning_rate,
)

VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: conversations per step.
        steps: over which the learning rate falls and targets grow longer.
        peak: the highest learning rate.
        seed: of everything drawn.
    """

    batch: int = 16
    steps: int = 20_000
    peak: float = 1e-3
    seed: int = 0


class Trainer:
    """A CSM with a frozen codec, and its optimiser."""

    def __init__(self, model: CsmForConditionalGeneration, plan: Plan, device: torch.device) -> None:
        self.model, self.plan, self.device = model.to(device), plan, device
        self.model.codec_model.requires_grad_(False)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, plan.peak, (0.9, 0.95), weight_decay=0.02)

    def checkpoint(self, path: Path) -> Checkpoint:
        """Everything that the next step depends on."""
        return Checkpoint(path, model=self.model, optimiser=self.optimiser)

    def step(self, step: int, corpus: Corpus) -> dict[str, float]:
        """One batch; returns the losses, in nats per code."""
        self.model.train()
        batch = corpus.draw(self.plan.batch, step / self.plan.steps, randomness(self.plan.seed, step)).to(self.device)
        backbone, depth = self._losses(batch)
        set_learning_rate(self.optimiser, learning_rate(step, self.plan.steps, self.plan.peak))
        self.optimiser.zero_grad()
        (backbone + depth).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return {"backbone": backbone.item(), "depth": depth.item()}

    @torch.no_grad()
    def validate(self, corpus: Corpus) -> dict[str, float]:
        """The losses on the same few batches every time."""
        self.model.eval()
        draws = (
            corpus.draw(self.plan.batch, 1.0, randomness(-1 % 2**32, number)) for number in range(VALIDATION_BATCHES)
        )
        losses = [self._losses(batch.to(self.device)) for batch in draws]
        return {
            name: float(np.mean([pair[which].item() for pair in losses]))
            for which, name in enumerate(("backbone", "depth"))
        }

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with mixed_precision(self.device):
            output = self.model(inputs_embeds=embed(self.model, batch.rows), labels=batch.labels, use_cache=False)
        return output.backbone_loss, output.depth_decoder_loss


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
    step = checkpoint.load()
    while not progress.over(step):
        values = trainer.step(step, corpus)
        step += 1
        progress.report(step, **values)
        if progress.time_to_save(step):
            _save(trainer, checkpoint, step, unheard)
    _save(trainer, checkpoint, step, unheard)
    return step


def main() -> None:
    """Train the model."""
    arguments = _parse()
    device = choose_device(arguments.device)
    plan = Plan(arguments.batch, arguments.steps, arguments.peak, arguments.seed)
    heard, unheard = split(tokens.read(arguments.tokens))
    corpus = Corpus(heard, make_tokenizer())
    validation = Corpus(unheard, make_tokenizer()) if unheard else None
    print(f"{len(corpus.order)} sentences by {len(corpus.groups)} speakers, on {device}", flush=True)
    trainer = Trainer(initialise(load_codec(arguments.codec), seed=plan.seed), plan, device)
    progress = Progress(plan.steps, arguments.minutes).stop_on_sigterm()
    done = train(trainer, corpus, validation, arguments.out, progress)
    facts = facts_of(trainer.model, trained=True, scores={})
    export(trainer.model.cpu(), arguments.out / "weights", facts)
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate model ...")


def _save(trainer: Trainer, checkpoint: Checkpoint, step: int, unheard: Corpus | None) -> None:
    checkpoint.save(step)
    if unheard:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in trainer.validate(unheard).items())
        print(f"step {step}: voices never heard: {scores}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="files written by the token stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
