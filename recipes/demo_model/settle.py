"""Stage b, addition: teach a phonetic codec's encoder to tell the same voice in every frame.

    python -m recipes.demo_model.settle --start work/phonetic/weights --speech work/kokoro work/joe --out work/settled

A language model hears a reference frame by frame, but should say the voice of the whole. If frames disagree about the
voice, it must learn which voice they mean together, and learns that for the speakers it knows only. So each speaker, or
each group of similar ones, gets a code, which is a place in the space of `discriminant`, and the encoder learns to tell
this place in every frame. It can, since its transformer sees all frames before. Later stages read from `voices.json`
who has which code. The decoder stays as it is, and must then learn the new codes (`distil --encoder-steps 0`). If the
run is stopped, the same command continues.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, phonetic, speech
from recipes.demo_model.architecture import FRAME_RATE
from recipes.demo_model.distil import CODING
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.progress import Progress, RunFailed
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
from recipes.demo_model.voices import Voices, prepare, voices_of

RECOGNITION = 0.1
"""Weight of the loss of the phonemes."""

RAMP_SECONDS = 1.0
"""Time from the start of an utterance in which the weight of its frames grows to its full value."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: examples per step.
        frames: of an example.
        steps: over which the learning rate falls.
        peak: maximum learning rate.
        layers: number of convolutional layers that stay as they are; None for all.
    """

    batch: int
    frames: int
    steps: int
    peak: float
    layers: int | None = None


class Settler:
    """An encoder that learns to tell a voice."""

    def __init__(self, codec: MimiModel, voices: Voices, plan: Plan) -> None:
        self.codec, self.voices, self.plan = pad_plainly(codec), voices, plan
        convolutions = codec.encoder.encoder_seanet.layers
        self.convolutions = convolutions[len(convolutions) if plan.layers is None else plan.layers :]
        self.bfloat16 = bfloat16_pays(codec.device)
        codec.requires_grad_(False)
        for name, parameter in codec.named_parameters():
            parameter.requires_grad = name.startswith(CODING) and "encoder_seanet" not in name
        self.convolutions.requires_grad_(True)
        self.trained = [parameter for parameter in codec.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, plan.peak, (0.9, 0.98), weight_decay=1e-2, fused=True)
        self.spread = voices.targets.var(0).mean()
        self.weights = (torch.arange(1, plan.frames + 1) / (RAMP_SECONDS * FRAME_RATE)).clamp(max=1)

    def step(self, step: int, seed: int) -> dict[str, Tensor]:
        """Train on one batch; return the losses."""
        seed_step(seed, step)
        before, first, wanted = self.voices.draw(self.plan.batch, self.plan.frames)
        device = self.codec.device
        hidden = before.to(device).transpose(1, 2)
        with mixed_precision(device, self.bfloat16):
            for layer in self.convolutions:
                hidden = layer(hidden)
        hidden = self.codec.encoder.encoder_transformer(hidden.float().transpose(1, 2))[0].transpose(1, 2)
        latents = self.codec.encoder.downsample(hidden)
        told = self.codec.quantizer.acoustic_residual_vector_quantizer.input_proj(latents).transpose(1, 2)
        errors = (told - wanted.to(device)[:, None]).square().mean((0, 2)) / self.spread
        voice = (errors * self.weights.to(device)).sum() / self.weights.sum()
        logits = phonetic.recognise(self.codec, latents)
        said = F.cross_entropy(logits.flatten(0, 1), first.to(device).flatten(), ignore_index=phonemes.UNKNOWN)
        loss = voice + RECOGNITION * said
        descend(self.optimiser, self.trained, loss, learning_rate(step, self.plan.steps, self.plan.peak))
        return {"voice": voice.detach(), "end": errors[-1].detach(), "first": said.detach()}


def main() -> None:
    """Train the encoder."""
    parser = common_arguments(__doc__, 1500, 16, 5e-4)
    parser.add_argument("--start", type=Path, required=True, help="a phonetic codec, or a CSM that contains one")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument(
        "--others", type=Path, nargs="+", default=[], help="speech by many speakers who get no code: see data --new"
    )
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.88, 1.0, 1.14], help="each gives other speakers")
    parser.add_argument("--frames", type=int, default=75, help="of an example")
    parser.add_argument(
        "--layers", type=int, help="convolutional layers that stay as they are (all): 4 takes 0.8 MB of memory a second"
    )
    parser.add_argument("--codes", type=int, default=256, help="of the voice")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    codec = load_codec(arguments.start)
    if not pairs.installed(codec) or codec.config.num_quantizers != 2:
        parser.error("this codec is not phonetic, with one code for the voice: see recipes.demo_model.distil")
    arguments.out.mkdir(parents=True, exist_ok=True)
    stored = arguments.out / "voices.pt"
    if not stored.exists():
        sentences = speech.read_training(arguments.speech)
        others = speech.read_training(arguments.others)
        torch.save(prepare(pad_plainly(codec), sentences, arguments.speeds, others, arguments.layers), stored)
    voices = voices_of(codec, torch.load(stored, weights_only=True), arguments.codes)
    (arguments.out / phonetic.VOICES).write_text(json.dumps(voices.codes, indent=1) + "\n")
    print(f"{len(voices.speakers)} utterances by {len(voices.targets)} speakers", flush=True)
    plan = Plan(arguments.batch, arguments.frames, arguments.steps, arguments.peak, arguments.layers)
    settler = Settler(codec.to(device), voices, plan)
    checkpoint = Checkpoint(arguments.out / "state.pt", codec=codec, optimiser=settler.optimiser)

    def save(step: int) -> None:
        checkpoint.save(step)
        save_codec(codec, arguments.out / "weights")

    progress = Progress(
        arguments.steps, arguments.minutes, save_every=arguments.save_every, limits=limits(arguments, "voice")
    ).stop_on_sigterm()
    try:
        done = run(checkpoint, progress, lambda step: settler.step(step, arguments.seed), save)
    except RunFailed as failure:
        raise SystemExit(f"given up: {failure}") from failure
    print(f"{done} steps done")


if __name__ == "__main__":
    main()
