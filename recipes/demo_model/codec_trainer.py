"""Train the codec. In a step, the host never waits for the device."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.average import MovingAverage
from recipes.demo_model.discriminator import Discriminator
from recipes.demo_model.export import forget_cached_codebooks
from recipes.demo_model.losses import SpectralLoss
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.quantiser import Quantised, bypass, quantise
from recipes.demo_model.recogniser import Recogniser
from recipes.demo_model.recordings import Recording, Variety
from recipes.demo_model.sounds import Source, Stretches
from recipes.demo_model.speakers import SpeakerEncoder
from recipes.demo_model.training import Checkpoint, descend, learning_rate, mixed_precision, seed_step

RAMP = 500
"""Number of steps over which the weight of the discriminator's loss grows to its full value."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: clips per step.
        frames: length of a clip, in codec frames of 80 ms.
        steps: over which the learning rate falls.
        peak: maximum learning rate.
        quantised: share of the clips that the decoder gets quantised; the others keep it from following codebooks
            that still change.
        dropout: probability per step that only the first few codebooks are used, so that they carry the most
            information.
        adversarial_from: step at which the discriminator joins; None for never.
        judge_peak: maximum learning rate of the discriminator.
        pronunciation: weight of the loss that makes the first codebook encode the phoneme.
        phonetic: weight of the difference that a recogniser of phonemes hears; 0 for none.
        likeness: weight of the difference that a speaker encoder hears; 0 for none.
        encoder_steps: over which the encoder's learning rate falls; None for all steps. After them, only the decoder
            is trained: the codes are final, and the model can already be trained on them.
        average: decay of the moving average of the decoder's weights, which are saved.
        variety: how clips are changed.
        bfloat16: see `training.mixed_precision`.
        seed: of all random draws.
    """

    batch: int = 8
    frames: int = 10
    steps: int = 20_000
    peak: float = 5e-4
    quantised: float = 0.5
    dropout: float = 0.25
    adversarial_from: int | None = None
    judge_peak: float = 1e-3
    pronunciation: float = 0.3
    phonetic: float = 0.2
    likeness: float = 0.0
    encoder_steps: int | None = None
    average: float = 0.999
    variety: Variety = field(default_factory=Variety)
    bfloat16: bool = False
    seed: int = 0

    def settled(self, step: int) -> bool:
        """Return whether encoder and codes no longer change at this step."""
        return self.encoder_steps is not None and step >= self.encoder_steps


class CodecTrainer:
    """A codec, what it is judged by, and their optimisers.

    Attributes:
        codec: after the last step.
        average: moving average of the decoder. The encoder has none, so codes are those of its last step.
        voices: whether the second code is that of the voice, which the recogniser learns then.
    """

    def __init__(self, codec: MimiModel, plan: Plan, device: torch.device, known_voices: Tensor | None = None) -> None:
        """Start from `codec`.

        Args:
            codec: is trained, on `device`.
            plan: how.
            device: to train on.
            known_voices: from `SpeakerEncoder.of_codes`: what each code of the voice should sound like; None if each
                clip should sound like its original.
        """
        self.codec, self.plan, self.device = pad_plainly(codec).to(device), plan, device
        forget_cached_codebooks(codec)
        self.average = MovingAverage(self.codec.decoder, plan.average)
        self.judge = Discriminator().to(device)
        self.spectral = SpectralLoss().to(device)
        self.listener = nn.Linear(codec.config.hidden_size, phonemes.CLASSES * phonemes.LABELS_PER_FRAME).to(device)
        decoder = list(codec.decoder.parameters())
        coders = [one for name, one in codec.named_parameters() if not name.startswith("decoder.")]
        groups = [{"params": decoder}, {"params": [*coders, *self.listener.parameters()]}]
        self.optimiser = torch.optim.AdamW(groups, plan.peak, (0.8, 0.99), weight_decay=1e-3, fused=True)
        judged = self.judge.parameters()
        self.judge_optimiser = torch.optim.AdamW(judged, plan.judge_peak, (0.5, 0.9), weight_decay=1e-3, fused=True)
        self.voices = pairs.installed(codec)
        self.recogniser = Recogniser(voices=codec.config.codebook_size if self.voices else 1).to(device)
        self.speakers = SpeakerEncoder().to(device) if plan.likeness else None
        self._known_voices = None if known_voices is None else known_voices.to(device)
        self._others = None if known_voices is None else known_voices[known_voices.any(1)].to(device)
        self.recogniser_optimiser = torch.optim.AdamW(self.recogniser.parameters(), plan.judge_peak, fused=True)

    def checkpoint(self, path: Path) -> Checkpoint:
        """Return everything that the next step depends on."""
        return Checkpoint(
            path,
            codec=self.codec,
            average=self.average,
            judge=self.judge,
            listener=self.listener,
            optimiser=self.optimiser,
            judge_optimiser=self.judge_optimiser,
            recogniser=self.recogniser,
            recogniser_optimiser=self.recogniser_optimiser,
        )

    def step(self, step: int, sounds: Source) -> dict[str, Tensor]:
        """Train on one batch; return the losses, which stay on the device."""
        plan = self.plan
        seed_step(plan.seed, step)
        drawn = sounds.draw(plan.batch, plan.frames, plan.variety)
        real, settled = drawn.samples, plan.settled(step)
        heard, quantised = self._hear(drawn, settled)
        with mixed_precision(self.device, plan.bfloat16):
            made = self.codec.decoder(heard).audio_values[:, 0, : real.shape[1]]
        made = made.float()
        parts = {"spectral": self.spectral(made, real), "wave": F.l1_loss(made, real)}
        loss = parts["spectral"] + 2.0 * parts["wave"]
        if quantised:
            parts |= {"commitment": quantised.commitment, "sounds": self._listen(quantised.semantic, drawn.labels)}
            loss = loss + 0.25 * parts["commitment"] + plan.pronunciation * parts["sounds"]
        if plan.phonetic and drawn.labels is not None:
            voices = drawn.codes[:, 1, 0] if self.voices and drawn.codes is not None else None
            parts["phonetic"] = self._recognise(real, made, drawn.labels, voices, step)
            loss = loss + plan.phonetic * parts["phonetic"]
        if self.speakers:
            some = len(real) // 2 + 1  # of a batch drawn at random, since it takes as long as the rest of a step
            parts["likeness"] = self.speakers.difference(made[:some], self._wanted(drawn, some), self._others)
            loss = loss + plan.likeness * parts["likeness"]
        if plan.adversarial_from is not None and step >= plan.adversarial_from:
            extra, seen = self._argue(real, made, step - plan.adversarial_from)
            loss, parts = loss + extra, parts | seen
        rate = learning_rate(step, plan.steps, plan.peak)
        coders_rate = learning_rate(step, plan.encoder_steps or plan.steps, plan.peak)
        descend(self.optimiser, self.codec.parameters(), loss, rate, coders_rate)
        self.average.update()
        return {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def validate(self, clips: list[Recording]) -> float:
        """Return the spectral loss of the averaged codec over whole clips, with all codebooks."""
        codec = self.saved()
        values = []
        for clip in clips:
            real = torch.from_numpy(clip.samples)[None].to(self.device)
            heard = quantise(codec, codec.encoder(real[:, None]).latents, dropout=0.0).heard
            made = codec.decoder(heard).audio_values[:, 0, : real.shape[1]]
            values.append(self.spectral(made, real))
        return torch.stack(values).mean().item()

    def saved(self) -> MimiModel:
        """Return a copy of the codec to save, with the averaged decoder, in eval mode."""
        kept = copy.deepcopy(self.codec)
        kept.decoder = self.average.module
        return kept.eval()

    def _hear(self, drawn: Stretches, settled: bool) -> tuple[Tensor, Quantised | None]:
        """Return the decoder's input for a batch and, unless the codes are final, the result of the codebooks."""
        self.codec.train(not settled)
        if drawn.codes is not None:
            with torch.no_grad():
                return self.codec.quantizer.decode(drawn.codes), None
        with torch.set_grad_enabled(not settled):
            with mixed_precision(self.device, self.plan.bfloat16):
                latents = self.codec.encoder(drawn.samples[:, None]).latents.float()
            quantised = quantise(self.codec, latents, self.plan.dropout)
            if settled:
                return quantised.heard, None
            exact = torch.rand(len(latents), 1, 1, device=self.device) >= self.plan.quantised
            return torch.where(exact, bypass(self.codec, latents), quantised.heard), quantised

    def _listen(self, semantic: Tensor, labels: Tensor | None) -> Tensor:
        """Return the cross-entropy of the phonemes predicted from the first codebook; zero if none are known."""
        if labels is None:
            return semantic.new_zeros(())
        said = self.listener(semantic.transpose(1, 2)).unflatten(-1, (phonemes.LABELS_PER_FRAME, -1))
        total = F.cross_entropy(said.flatten(0, 2), labels.flatten(), ignore_index=phonemes.UNKNOWN, reduction="sum")
        return total / (labels != phonemes.UNKNOWN).sum().clamp(min=1)

    @torch.no_grad()
    def _wanted(self, drawn: Stretches, count: int) -> Tensor:
        """Return what the speaker encoder should hear in the first clips, `[count, width]`."""
        assert self.speakers
        if self._known_voices is None or drawn.codes is None:
            return self.speakers(drawn.samples[:count])
        return self._known_voices[drawn.codes[:count, 1, 0]]

    def _recognise(self, real: Tensor, made: Tensor, labels: Tensor, voices: Tensor | None, step: int) -> Tensor:
        """Return the difference that the recogniser hears, then train the recogniser."""
        with mixed_precision(self.device, self.plan.bfloat16):
            difference = self.recogniser.difference(real, made, voices is not None)
            lesson = self.recogniser.lesson(real, labels.flatten(1), voices)
        rate = learning_rate(step, self.plan.steps, self.plan.judge_peak)
        descend(self.recogniser_optimiser, self.recogniser.parameters(), lesson, rate)
        return difference

    def _argue(self, real: Tensor, made: Tensor, since: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the adversarial loss of the codec, then train the discriminator; one resolution per step."""
        which = since % len(self.judge.sizes)
        with mixed_precision(self.device, self.plan.bfloat16):
            cost, parts = self.judge.verdict(real, made, which)
            lesson = self.judge.lesson(real, made.detach(), which)
        parts["judge"] = self.judge.hinge.clone()
        remaining = max(1, self.plan.steps - (self.plan.adversarial_from or 0))
        descend(
            self.judge_optimiser, self.judge.parameters(), lesson, learning_rate(since, remaining, self.plan.judge_peak)
        )
        return min(1.0, since / RAMP) * cost, parts
