"""Stage b, alternative: make a codec phonetic by teaching its inner layers what another codec does.

    python -m recipes.demo_model.distil --start csm/assets/demo --signals work/signals/*.pt --out work/codec

The convolutions of the teacher are kept: they take nearly all of the time, and what is between them is to change. So
both ends are computed once, by `signals`. Training changes the transformers and everything between them: from the
output of the encoder's convolutions to the input of the decoder's, through codes of which the first are phonemes. The
decoder's transformer becomes what an acoustic model is in text-to-speech. If the run is stopped, the same command
continues.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import discriminant, pairs, phonetic
from recipes.demo_model.average import MovingAverage
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.progress import Progress, RunFailed
from recipes.demo_model.resize import deepened, with_codebooks
from recipes.demo_model.signals import Excerpts, Signals
from recipes.demo_model.training import (
    Checkpoint,
    bfloat16_pays,
    choose_device,
    common_arguments,
    descend,
    learning_rate,
    limits,
    mixed_precision,
    run,
    seed_step,
)

COMMITMENT = 0.25

CODING = (
    "encoder",
    "quantizer.semantic_residual_vector_quantizer.input_proj",
    "quantizer.acoustic_residual_vector_quantizer.input_proj",
)
"""Beginnings of the names of the weights that decide on the codes."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: excerpts per step.
        frames: length of an excerpt.
        steps: over which the learning rate falls.
        encoder_steps: after which the codes are final, and only the decoder is trained.
        peak: maximum learning rate.
        slowness: weight of the loss that makes acoustic codes change slowly.
        recognition: weight of the loss of the encoder's phonemes.
        average: decay of the moving average of the weights, which are saved.
        bfloat16: see `training.mixed_precision`.
        seed: of all random draws.
    """

    batch: int = 16
    frames: int = 40
    steps: int = 3000
    encoder_steps: int = 1000
    peak: float = 1e-3
    slowness: float = 0.1
    recognition: float = 0.1
    average: float = 0.995
    bfloat16: bool = False
    seed: int = 0


class Distiller:
    """A codec that learns to be phonetic.

    Attributes:
        codes: of the voice, by speaker; None if they are those that the encoder gives.
    """

    def __init__(self, codec: MimiModel, plan: Plan, device: torch.device, codes: dict[str, int] | None = None) -> None:
        self.codes = codes
        self.codec, self.plan, self.device = pad_plainly(codec).to(device), plan, device
        codec.encoder.encoder_seanet.requires_grad_(False)
        codec.decoder.decoder_seanet.requires_grad_(False)
        self.average = MovingAverage(codec, plan.average)
        self.trained = [parameter for parameter in codec.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, plan.peak, (0.9, 0.98), weight_decay=1e-2, fused=True)
        self.first_layer = codec.decoder.decoder_seanet.layers[0]
        self._voices: Tensor | None = None

    def step(self, step: int, signals: Signals) -> dict[str, Tensor]:
        """Train on one batch; return the losses."""
        seed_step(self.plan.seed, step)
        settled = step >= self.plan.encoder_steps
        self.codec.train(not settled)
        places = signals.draw(self.plan.batch, self.plan.frames)
        after = signals.after[places.latents].to(self.device).float()
        if settled:
            loss = self._apart(self._say(signals, places), after)
            parts = {"apart": loss}
        else:
            heard = self._hear(signals, places)
            parts = {"apart": self._apart(heard.vectors, after)}
            parts |= {"slow": heard.slow, "first": heard.first, "commitment": heard.commitment}
            loss = parts["apart"] + self.plan.slowness * heard.slow + self.plan.recognition * heard.first
            loss = loss + COMMITMENT * heard.commitment
        descend(self.optimiser, self.trained, loss, learning_rate(step, self.plan.steps, self.plan.peak))
        self.average.update()
        return {name: value.detach() for name, value in parts.items()}

    def _apart(self, vectors: Tensor, after: Tensor) -> Tensor:
        """Return the error of what the decoder makes of `vectors`, relative to the variance of what is wanted."""
        with mixed_precision(self.device, self.plan.bfloat16):
            made = self.codec.decoder.upsample(vectors).transpose(1, 2)
            made = self.codec.decoder.decoder_transformer(made)[0].transpose(1, 2)
            ours = self.first_layer(made).float()
            with torch.no_grad():
                theirs = self.first_layer(after.transpose(1, 2)).float()
        # Weighted as the next layer weights them: the latents themselves also have components that nothing reads.
        return ((ours - theirs).square().mean((0, 2)) / theirs.var((0, 2)).clamp(min=1e-4)).mean()

    def _hear(self, signals: Signals, places: Excerpts) -> phonetic.Heard:
        """Encode what is said and the voice."""
        both = torch.cat([signals.before[places.latents], signals.before[places.heard]]).to(self.device).float()
        latents, voice = self._encode(both).chunk(2)
        true = signals.codes[places.frames].to(self.device).long()
        return phonetic.hear(self.codec, latents, voice, true, disturb=True)

    def _say(self, signals: Signals, places: Excerpts) -> Tensor:
        """Look up what is said and the voice, which are final."""
        if self._voices is None:
            self._voices = self._all_voices(signals)
        codes = signals.codes[places.frames].to(self.device).long()
        return phonetic.say(self.codec, codes, self._voices[places.voices], disturb=False)

    @torch.no_grad()
    def _all_voices(self, signals: Signals) -> Tensor:
        """Return `[utterances, 1, code width]`: the voice of the speaker of each, of its pitch."""
        if self.codes is not None:
            codebook = self.codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
            known = torch.tensor([self.codes[name] for name in signals.names])[signals.speakers]
            vectors: Tensor = codebook.decode(known.to(self.device))
            return vectors[:, None]
        latents = (self._encode(one[None].to(self.device).float()) for one in signals.utterances())
        means = torch.cat([phonetic.mean_voice(self.codec, one) for one in latents])[:, 0].cpu()
        voices = discriminant.means_by(means, signals.speakers)[signals.speakers][:, None]
        return phonetic.of_pitch(self.codec, voices.to(self.device), signals.pitches.to(self.device))

    def _encode(self, before: Tensor) -> Tensor:
        with mixed_precision(self.device, self.plan.bfloat16):
            hidden = self.codec.encoder.encoder_transformer(before)[0].transpose(1, 2)
            latents: Tensor = self.codec.encoder.downsample(hidden).float()
        return latents

    def saved(self) -> MimiModel:
        """Return the averaged codec; what decides on the codes is that of the last step, so that they are final."""
        kept: MimiModel = self.average.module
        weights = self.codec.state_dict()
        coding = {name: weights[name] for name in weights if name.startswith(CODING) or "codebook" in name}
        kept.load_state_dict(coding, strict=False)
        return kept.eval()


def main() -> None:
    """Train the codec."""
    arguments = _parse()
    device = choose_device(arguments.device)
    plan = Plan(
        batch=arguments.batch,
        steps=arguments.steps,
        encoder_steps=arguments.encoder_steps,
        peak=arguments.peak,
        slowness=arguments.slowness,
        bfloat16=bfloat16_pays(device) and not arguments.float32,
        seed=arguments.seed,
    )
    signals = Signals(arguments.signals)
    voices = phonetic.read_voices(arguments.voices, signals.names) if arguments.voices else None
    distiller = Distiller(_codec(arguments), plan, device, voices)
    print(f"{len(signals.frames)} utterances, {int(signals.frames.sum()) / 750:.0f} minutes", flush=True)
    checkpoint = Checkpoint(
        arguments.out / "state.pt", codec=distiller.codec, average=distiller.average, optimiser=distiller.optimiser
    )

    def save(step: int) -> None:
        checkpoint.save(step)
        save_codec(distiller.saved(), arguments.out / "weights")

    progress = Progress(
        plan.steps, arguments.minutes, save_every=arguments.save_every, limits=limits(arguments, "apart")
    ).stop_on_sigterm()
    try:
        done = run(checkpoint, progress, lambda step: distiller.step(step, signals), save)
    except RunFailed as failure:
        raise SystemExit(f"given up: {failure}") from failure
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate codec ...")


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__, Plan.steps, Plan.batch, Plan.peak)
    parser.add_argument("--start", type=Path, required=True, help="the teacher, or a phonetic codec to go on from")
    parser.add_argument("--signals", type=Path, nargs="+", required=True)
    parser.add_argument("--codebooks", type=int, default=4, help="keep at most this many of its codebooks")
    parser.add_argument("--layers", type=int, default=5, help="of each transformer, at least as many as it has")
    parser.add_argument("--encoder-steps", type=int, default=Plan.encoder_steps, help="then train the decoder alone")
    parser.add_argument(
        "--voices", type=Path, help="file by settle: the code of each speaker, instead of the encoder's"
    )
    parser.add_argument("--slowness", type=float, default=Plan.slowness)
    return parser.parse_args()


def _codec(arguments: argparse.Namespace) -> MimiModel:
    codec = load_codec(arguments.start)
    codec = with_codebooks(codec, min(arguments.codebooks, codec.config.num_quantizers))
    codec = deepened(codec, max(arguments.layers, codec.config.num_hidden_layers))
    if not pairs.installed(codec):
        pairs.install(codec)
    return codec


if __name__ == "__main__":
    main()
