"""Train the model. In a step, the host never waits for the device."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CsmForConditionalGeneration

from recipes.demo_model.alignment import Guide
from recipes.demo_model.average import MovingAverage
from recipes.demo_model.batches import Batches
from recipes.demo_model.dialogue import NOTHING, Batch, Corpus
from recipes.demo_model.processes import ALONE, Processes
from recipes.demo_model.training import Checkpoint, descend, learning_rate, mixed_precision, randomness

VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: conversations per step and process.
        steps: over which the learning rate falls and targets grow longer.
        peak: maximum learning rate.
        guide: weight of the loss that makes one head per layer attend to the letter being spoken.
        average: decay of the moving average of the weights, which are saved.
        bfloat16: see `training.mixed_precision`.
        seed: of all random draws.
    """

    batch: int = 16
    steps: int = 20_000
    peak: float = 1e-3
    guide: float = 0.3
    average: float = 0.999
    bfloat16: bool = False
    seed: int = 0


class Trainer:
    """A CSM with a frozen codec, and its optimiser; one of several equal ones if there are several processes."""

    def __init__(
        self,
        model: CsmForConditionalGeneration,
        plan: Plan,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.plan, self.device, self.processes = model.to(device), plan, device, processes
        self.model.codec_model.requires_grad_(False)
        self.average = MovingAverage(self.model, plan.average)
        self.guide = Guide(self.model) if plan.guide else None
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, plan.peak, (0.9, 0.95), weight_decay=0.02, fused=True)

    def checkpoint(self, path: Path) -> Checkpoint:
        """Return everything that the next step depends on."""
        return Checkpoint(path, model=self.model, average=self.average, optimiser=self.optimiser)

    def step(self, step: int, batches: Batches) -> dict[str, Tensor]:
        """Train on one batch; return the losses in nats per code, which stay on the device."""
        self.model.train()
        batch = batches.at(step).to(self.device)
        parts = self._losses(self.model, batch)
        if self.guide:
            parts["guide"] = self.plan.guide * self.guide.loss(batch.places)
        rate = learning_rate(step, self.plan.steps, self.plan.peak)
        descend(self.optimiser, self.trained, torch.stack([*parts.values()]).sum(), rate, processes=self.processes)
        self.average.update()
        return {name: loss.detach() for name, loss in parts.items()}

    @torch.no_grad()
    def validate(self, corpus: Corpus) -> dict[str, float]:
        """Return the losses of the averaged model, always on the same few batches."""
        model = self.average.module.eval()
        draws = (randomness(-1 % 2**32, number) for number in range(VALIDATION_BATCHES))
        rows = [self._losses(model, corpus.draw(self.plan.batch, 1.0, rng).to(self.device)) for rng in draws]
        return {name: torch.stack([row[name] for row in rows]).mean().item() for name in rows[0]}

    def _losses(self, model: CsmForConditionalGeneration, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of `CsmForConditionalGeneration.forward`, but with given positions of frames."""
        codes = batch.rows[..., :-1]
        with mixed_precision(self.device, self.plan.bfloat16):
            hidden = model.backbone_model(inputs_embeds=embed(model, batch.rows), use_cache=False).last_hidden_state
            first = model.lm_head(hidden[:, :-1]).float()
            row, position = batch.frames.unbind(1)
            wanted = codes[row, position]
            said = model.depth_decoder(
                input_ids=F.pad(wanted[:, :-1], (1, 0)),
                backbone_last_hidden_state=hidden[row, position - 1],
                use_cache=False,
            ).logits.float()
        others = F.cross_entropy(said.transpose(1, 2), wanted[:, 1:], reduction="none")
        return {
            "backbone": F.cross_entropy(first.flatten(0, 1), codes[:, 1:, 0].flatten(), ignore_index=NOTHING),
            "depth": (others * importance(others.shape[1], self.device)).sum(1).mean(),
        }


def importance(codebooks: int, device: torch.device) -> Tensor:
    """Return the weight of each codebook after the first; their sum is 1.

    The n-th has 1/n of the weight of the first of them: each refines those before, so the first hold most of the sound.
    """
    weights = 1 / torch.arange(1, codebooks + 1, device=device)
    return weights / weights.sum()


def embed(model: CsmForConditionalGeneration, rows: Tensor) -> Tensor:
    """Embed text and frames as the model does; return `[batch, positions, hidden]`, with zeros for padding."""
    text, codes = rows[..., -1], rows[..., :-1]
    is_text, is_audio = (text != NOTHING)[..., None], (codes[..., :1] != NOTHING)
    of_text = model.embed_text_tokens(text.clamp(min=0))
    of_audio = model.backbone_model.embed_tokens(codes.clamp(min=0))
    return of_text * is_text + of_audio * is_audio
