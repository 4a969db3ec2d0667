"""Stage b: train the codec, a small `MimiModel`, to hear and speak again.

    python -m recipes.demo_model.codec --speech work/speech --out work/codec --steps 20000 --adversarial-from 12000

Stopped at any point (SIGTERM included), the same command goes on where it was. `work/codec/weights` is the codec so
far.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import losses, speech
from recipes.demo_model.architecture import DEMO, SAMPLES_PER_FRAME, CodecSize, codec_config
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.quantiser import bypass, quantise
from recipes.demo_model.training import (
    Checkpoint,
    Progress,
    choose_device,
    learning_rate,
    mixed_precision,
    randomness,
    set_learning_rate,
)


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: clips per step.
        frames: length of a clip, in codec frames of 80 ms.
        steps: over which the learning rate falls.
        peak: the highest learning rate.
        quantised: share of the clips that the decoder hears through the codebooks; the others keep it from chasing
            codebooks that still move.
        dropout: chance per step that only the first few codebooks are heard, so that those carry most.
        adversarial_from: step at which the discriminator joins; None never.
        seed: of everything drawn.
    """

    batch: int = 12
    frames: int = 10
    steps: int = 20_000
    peak: float = 5e-4
    quantised: float = 0.5
    dropout: float = 0.25
    adversarial_from: int | None = None
    seed: int = 0


class CodecTrainer:
    """A codec, its discriminator and their optimisers."""

    def __init__(self, codec: MimiModel, plan: Plan, device: torch.device) -> None:
        self.codec, self.plan, self.device = codec.to(device), plan, device
        self.judge = losses.Discriminator().to(device)
        self.spectral = losses.SpectralLoss().to(device)
        self.optimiser = torch.optim.AdamW(self.codec.parameters(), plan.peak, (0.8, 0.99), weight_decay=1e-3)
        self.judge_optimiser = torch.optim.AdamW(self.judge.parameters(), plan.peak, (0.5, 0.9))

    def checkpoint(self, path: Path) -> Checkpoint:
        """Everything that the next step depends on."""
        return Checkpoint(
            path,
            codec=self.codec,
            judge=self.judge,
            optimiser=self.optimiser,
            judge_optimiser=self.judge_optimiser,
        )

    def step(self, step: int, clips: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """One batch; returns the losses."""
        rng = randomness(self.plan.seed, step)
        real = draw_clips(clips, self.plan.batch, self.plan.frames * SAMPLES_PER_FRAME, rng).to(self.device)
        rate = learning_rate(step, self.plan.steps, self.plan.peak)
        made, commitment = self._pass_through(real, rng)
        spectral, wave = self.spectral(made, real), F.l1_loss(made, real)
        loss = spectral + 2.0 * wave + 0.25 * commitment
        report = {"spectral": spectral.item(), "wave": wave.item(), "commitment": commitment.item()}
        if self.plan.adversarial_from is not None and step >= self.plan.adversarial_from:
            since = step - self.plan.adversarial_from
            report["judge"] = self._teach_judge(real, made.detach(), rate * min(1.0, (since + 1) / 150))
            extra, seen = self._please_judge(real, made, gain=min(1.0, since / 500))
            loss, report = loss + extra, report | seen
        self._descend(loss, rate)
        return report

    @torch.no_grad()
    def validate(self, clips: Sequence[NDArray[np.float32]]) -> float:
        """The spectral loss of whole clips through all codebooks."""
        self.codec.eval()
        values = []
        for clip in clips:
            real = torch.from_numpy(clip)[None].to(self.device)
            heard, _ = quantise(self.codec, self.codec.encoder(real[:, None]).latents, randomness(0, 0), dropout=0.0)
            made = self.codec.decoder(heard).audio_values[:, 0, : real.shape[1]]
            values.append(self.spectral(made, real).item())
        return float(np.mean(values))

    def _pass_through(self, real: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        self.codec.train()
        with mixed_precision(self.device):
            latents = self.codec.encoder(real[:, None]).latents
        latents = latents.float()
        exact = torch.from_numpy(rng.random((len(real), 1, 1)) >= self.plan.quantised).to(self.device)
        heard, commitment = quantise(self.codec, latents, rng, self.plan.dropout)
        if exact.any():
            heard = torch.where(exact, bypass(self.codec, latents), heard)
        with mixed_precision(self.device):
            made = self.codec.decoder(heard).audio_values
        return made[:, 0, : real.shape[1]].float(), commitment

    def _teach_judge(self, real: Tensor, made: Tensor, rate: float) -> float:
        loss = losses.discriminator_loss(self.judge(real), self.judge(made))
        set_learning_rate(self.judge_optimiser, rate)
        self.judge_optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.judge.parameters(), 1.0)
        self.judge_optimiser.step()
        return loss.item()

    def _please_judge(self, real: Tensor, made: Tensor, gain: float) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            reference = self.judge(real)
        judged = self.judge(made)
        adversarial, features = losses.adversarial_loss(judged), losses.feature_loss(reference, judged)
        seen = {"adversarial": adversarial.item(), "features": features.item()}
        return gain * (0.1 * adversarial + 1.0 * features), seen

    def _descend(self, loss: Tensor, rate: float) -> None:
        set_learning_rate(self.optimiser, rate)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimiser.step()


def new_codec(seed: int, size: CodecSize = DEMO.codec) -> MimiModel:
    """A small Mimi, with its stock initialisation tamed: as it is, it shouts and the encoder collapses."""
    torch.manual_seed(seed)
    codec = MimiModel(codec_config(size))
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)
        codec.encoder.encoder_seanet.layers[-1].conv.weight.mul_(0.3)
    return codec


def draw_clips(clips: Sequence[NDArray[np.float32]], count: int, samples: int, rng: np.random.Generator) -> Tensor:
    """`[count, samples]`: random stretches of random clips, padded with silence where a clip is shorter."""
    batch = np.zeros((count, samples), np.float32)
    for row in batch:
        clip = clips[int(rng.integers(len(clips)))]
        start = int(rng.integers(max(1, len(clip) - samples + 1)))
        stretch = clip[start : start + samples]
        row[: len(stretch)] = stretch
    return torch.from_numpy(batch)


def train(
    trainer: CodecTrainer,
    clips: Sequence[NDArray[np.float32]],
    unheard: Sequence[NDArray[np.float32]],
    out: Path,
    progress: Progress,
) -> int:
    """Go on from the last checkpoint until `progress` says stop; returns the number of steps done in all."""
    checkpoint = trainer.checkpoint(out / "state.pt")
    step = checkpoint.load()
    while not progress.over(step):
        values = trainer.step(step, clips)
        step += 1
        progress.report(step, **values)
        if progress.time_to_save(step):
            _save(trainer, checkpoint, step, unheard, out)
    _save(trainer, checkpoint, step, unheard, out)
    return step


def main() -> None:
    """Train the codec."""
    arguments = _parse()
    device = choose_device(arguments.device)
    plan = Plan(
        batch=arguments.batch,
        steps=arguments.steps,
        peak=arguments.peak,
        quantised=arguments.quantised,
        adversarial_from=arguments.adversarial_from,
        seed=arguments.seed,
    )
    codec = load_codec(arguments.start) if arguments.start else new_codec(plan.seed)
    sentences = speech.read_training(arguments.speech)
    clips = [speech.load(sentence) for sentence in sentences]
    print(f"{len(clips)} sentences, {sum(sentence.seconds for sentence in sentences) / 60:.0f} minutes, on {device}")
    progress = Progress(arguments.steps, arguments.minutes).stop_on_sigterm()
    unheard = [speech.load(one) for one in speech.read_index(arguments.held_out)] if arguments.held_out else []
    done = train(CodecTrainer(codec, plan, device), clips, unheard[::4], arguments.out, progress)
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate codec ...")


def _save(
    trainer: CodecTrainer, checkpoint: Checkpoint, step: int, unheard: Sequence[NDArray[np.float32]], out: Path
) -> None:
    checkpoint.save(step)
    save_codec(trainer.codec, out / "weights")
    if unheard:
        print(f"step {step}: voices never heard: spectral {trainer.validate(unheard):.3f}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--held-out", type=Path, help="the judges' speech: a quarter of it is scored at checkpoints")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a codec to go on from when --out has no checkpoint yet")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--peak", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--quantised", type=float, default=0.5, help="share of clips heard through the codebooks")
    parser.add_argument("--adversarial-from", type=int, help="step at which the discriminator joins")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
