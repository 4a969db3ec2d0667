"""Stage b: train the codec, a small `MimiModel`, to hear and speak again.

    python -m recipes.demo_model.codec --speech work/speech --out work/codec --steps 20000 --adversarial-from 12000

Stopped at any point (SIGTERM included), the same command goes on where it was. `work/codec/weights` is the codec so
far.
"""

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MimiModel

from recipes.demo_model import losses, phonemes, recordings, speech
from recipes.demo_model.architecture import DEMO, CodecSize, codec_config
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.quantiser import Quantised, bypass, quantise
from recipes.demo_model.recordings import Recording, Variety
from recipes.demo_model.training import (
    Checkpoint,
    Progress,
    choose_device,
    common_arguments,
    descend,
    learning_rate,
    mixed_precision,
    randomness,
    run,
)


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: clips per step. Small ones stay in a CPU's cache: 4 cost a sixth less per clip than 12.
        frames: length of a clip, in codec frames of 80 ms.
        steps: over which the learning rate falls.
        peak: the highest learning rate.
        quantised: share of the clips that the decoder hears through the codebooks; the others keep it from chasing
            codebooks that still move.
        dropout: chance per step that only the first few codebooks are heard, so that those carry most.
        adversarial_from: step at which the discriminator joins; None never.
        pronunciation: weight of the loss that makes the first codebook tell which sound is spoken.
        encoder_steps: over which the encoder's learning rate falls. From then on only the decoder learns: codes are
            final, and the model can be trained on them meanwhile. None: all steps.
        variety: how clips are changed.
        seed: of everything drawn.
    """

    batch: int = 4
    frames: int = 10
    steps: int = 20_000
    peak: float = 5e-4
    quantised: float = 0.5
    dropout: float = 0.25
    adversarial_from: int | None = None
    pronunciation: float = 0.3
    encoder_steps: int | None = None
    variety: Variety = field(default_factory=Variety)
    seed: int = 0

    def settled(self, step: int) -> bool:
        """Whether the encoder and the codes stay as they are from this step on."""
        return self.encoder_steps is not None and step >= self.encoder_steps


class CodecTrainer:
    """A codec, its discriminator and their optimisers."""

    def __init__(self, codec: MimiModel, plan: Plan, device: torch.device) -> None:
        self.codec, self.plan, self.device = codec.to(device), plan, device
        self.judge = losses.Discriminator().to(device)
        self.spectral = losses.SpectralLoss().to(device)
        self.listener = nn.Linear(codec.config.hidden_size, phonemes.CLASSES * phonemes.LABELS_PER_FRAME).to(device)
        decoder = list(codec.decoder.parameters())
        coders = [one for name, one in codec.named_parameters() if not name.startswith("decoder.")]
        groups = [{"params": decoder}, {"params": [*coders, *self.listener.parameters()]}]
        self.optimiser = torch.optim.AdamW(groups, plan.peak, (0.8, 0.99), weight_decay=1e-3)
        self.judge_optimiser = torch.optim.AdamW(self.judge.parameters(), plan.peak, (0.5, 0.9))

    def checkpoint(self, path: Path) -> Checkpoint:
        """Everything that the next step depends on."""
        return Checkpoint(
            path,
            codec=self.codec,
            judge=self.judge,
            listener=self.listener,
            optimiser=self.optimiser,
            judge_optimiser=self.judge_optimiser,
        )

    def step(self, step: int, clips: Sequence[Recording]) -> dict[str, float]:
        """One batch; returns the losses."""
        rng = randomness(self.plan.seed, step)
        drawn = recordings.draw(clips, self.plan.batch, self.plan.frames, rng, self.plan.variety).to(self.device)
        real, rate = drawn.samples, learning_rate(step, self.plan.steps, self.plan.peak)
        coders_rate = learning_rate(step, self.plan.encoder_steps or self.plan.steps, self.plan.peak)
        made, quantised = self._pass_through(real, rng, learning=not self.plan.settled(step))
        parts = {"spectral": self.spectral(made, real), "wave": F.l1_loss(made, real)}
        loss = parts["spectral"] + 2.0 * parts["wave"]
        if not self.plan.settled(step):
            parts |= {"commitment": quantised.commitment, "sounds": self._listen(quantised.semantic, drawn.labels)}
            loss = loss + 0.25 * parts["commitment"] + self.plan.pronunciation * parts["sounds"]
        if self.plan.adversarial_from is not None and step >= self.plan.adversarial_from:
            extra, seen = self._argue(real, made, rate, step - self.plan.adversarial_from)
            loss, parts = loss + extra, parts | seen
        descend(self.optimiser, self.codec.parameters(), loss, rate, coders_rate)
        return {name: value.item() for name, value in parts.items()}

    @torch.no_grad()
    def validate(self, clips: Sequence[Recording]) -> float:
        """The spectral loss of whole clips through all codebooks."""
        self.codec.eval()
        values = []
        for clip in clips:
            real = torch.from_numpy(clip.samples)[None].to(self.device)
            heard = quantise(self.codec, self.codec.encoder(real[:, None]).latents, randomness(0, 0), dropout=0.0).heard
            made = self.codec.decoder(heard).audio_values[:, 0, : real.shape[1]]
            values.append(self.spectral(made, real).item())
        return float(np.mean(values))

    def _pass_through(self, real: Tensor, rng: np.random.Generator, learning: bool) -> tuple[Tensor, Quantised]:
        self.codec.train(learning)
        with torch.set_grad_enabled(learning):
            with mixed_precision(self.device):
                latents = self.codec.encoder(real[:, None]).latents
            latents = latents.float()
            quantised = quantise(self.codec, latents, rng, self.plan.dropout)
            exact = torch.from_numpy(rng.random((len(real), 1, 1)) >= self.plan.quantised).to(self.device)
            heard = torch.where(exact, bypass(self.codec, latents), quantised.heard) if exact.any() else quantised.heard
        with mixed_precision(self.device):
            made = self.codec.decoder(heard).audio_values
        return made[:, 0, : real.shape[1]].float(), quantised

    def _listen(self, semantic: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the sounds that the first codebook tells; zero where none are known."""
        said = self.listener(semantic.transpose(1, 2)).unflatten(-1, (phonemes.LABELS_PER_FRAME, -1))
        total = F.cross_entropy(said.flatten(0, 2), labels.flatten(), ignore_index=phonemes.UNKNOWN, reduction="sum")
        return total / (labels != phonemes.UNKNOWN).sum().clamp(min=1)

    def _argue(self, real: Tensor, made: Tensor, rate: float, since: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Teach one resolution of the judge, and return what it then costs the codec to be recognised."""
        which = since % len(self.judge.sizes)
        taught = losses.discriminator_loss(self.judge(real, which), self.judge(made.detach(), which))
        descend(self.judge_optimiser, self.judge.parameters(), taught, rate * min(1.0, (since + 1) / 150))
        with torch.no_grad():
            reference = self.judge(real, which)
        judged = self.judge(made, which)
        adversarial, features = losses.adversarial_loss(judged), losses.feature_loss(reference, judged)
        seen = {"judge": taught, "adversarial": adversarial, "features": features}
        return min(1.0, since / 500) * (0.1 * adversarial + 1.0 * features), seen


def new_codec(seed: int, size: CodecSize = DEMO.codec) -> MimiModel:
    """A small Mimi, with its stock initialisation tamed: as it is, it shouts and the encoder collapses."""
    torch.manual_seed(seed)
    codec = MimiModel(codec_config(size))
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)
        codec.encoder.encoder_seanet.layers[-1].conv.weight.mul_(0.3)
    return codec


def with_codebooks(codec: MimiModel, count: int) -> MimiModel:
    """The same codec without its finest codebooks: what they add may not be heard, and the model has less to learn."""
    config = copy.deepcopy(codec.config)
    config.num_quantizers = count
    smaller = MimiModel(config)
    weights = codec.state_dict()
    smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
    return smaller


def train(
    trainer: CodecTrainer,
    clips: Sequence[Recording],
    unheard: Sequence[Recording],
    out: Path,
    progress: Progress,
) -> int:
    """Go on from the last checkpoint until `progress` says stop; returns the number of steps done in all."""
    checkpoint = trainer.checkpoint(out / "state.pt")
    return run(
        checkpoint,
        progress,
        lambda step: trainer.step(step, clips),
        lambda step: _save(trainer, checkpoint, step, unheard, out),
    )


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
        pronunciation=arguments.pronunciation,
        encoder_steps=arguments.encoder_steps,
        variety=recordings.NONE if arguments.unvaried else Variety(),
        seed=arguments.seed,
    )
    codec = load_codec(arguments.start) if arguments.start else new_codec(plan.seed)
    if arguments.codebooks:
        codec = with_codebooks(codec, arguments.codebooks)
    sentences = speech.read_training(arguments.speech)
    print(f"{len(sentences)} sentences, {sum(one.seconds for one in sentences) / 60:.0f} minutes, on {device}")
    clips = [recordings.load(sentence) for sentence in sentences]
    unheard = [recordings.load(one) for one in speech.read_index(arguments.held_out)] if arguments.held_out else []
    progress = Progress(arguments.steps, arguments.minutes, save_every=arguments.save_every).stop_on_sigterm()
    done = train(CodecTrainer(codec, plan, device), clips, unheard[::4], arguments.out, progress)
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate codec ...")


def _save(trainer: CodecTrainer, checkpoint: Checkpoint, step: int, unheard: Sequence[Recording], out: Path) -> None:
    checkpoint.save(step)
    save_codec(trainer.codec, out / "weights")
    if unheard:
        print(f"step {step}: voices never heard: spectral {trainer.validate(unheard):.3f}", flush=True)


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__, Plan.steps, Plan.batch, Plan.peak)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--held-out", type=Path, help="the judges' speech: a quarter of it is scored at checkpoints")
    parser.add_argument("--start", type=Path, help="a codec to go on from when --out has no checkpoint yet")
    parser.add_argument("--codebooks", type=int, help="keep only this many of the codec's codebooks")
    parser.add_argument("--quantised", type=float, default=0.5, help="share of clips heard through the codebooks")
    parser.add_argument("--adversarial-from", type=int, help="step at which the discriminator joins")
    parser.add_argument("--pronunciation", type=float, default=Plan.pronunciation, help="weight of the loss on sounds")
    parser.add_argument("--encoder-steps", type=int, help="from this step on train the decoder alone: codes are final")
    parser.add_argument("--unvaried", action="store_true", help="take clips as they are, without making new voices")
    return parser.parse_args()


if __name__ == "__main__":
    main()
