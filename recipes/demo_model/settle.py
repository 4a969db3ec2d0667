"""Stage b, addition: teach a phonetic codec's encoder to tell the same voice in every frame.

    python -m recipes.demo_model.settle --start work/phonetic/weights --speech work/kokoro work/joe --out work/settled

A language model hears a reference frame by frame, but should say the voice of the whole. If frames disagree about the
voice, it must learn which voice they mean together, and learns that for the speakers it knows only. So each speaker, or
each group of similar ones, gets a code, which is a place in the space of `discriminant`, and the encoder learns to tell
this place in every frame. It can, since its transformer sees all frames before. Later stages read from `voices.json`
who has which code. The decoder stays as it is, and must then learn the new codes (`distil --encoder-steps 0`). If the
run is stopped, the same command continues.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import discriminant, pairs, phonemes, phonetic, speech
from recipes.demo_model.architecture import FRAME_RATE, LATENTS_PER_FRAME
from recipes.demo_model.distil import CODING
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.flatten import pitches
from recipes.demo_model.monotone import possible
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.progress import Progress, RunFailed
from recipes.demo_model.recordings import at_speed
from recipes.demo_model.signals import encoded
from recipes.demo_model.training import (
    Checkpoint,
    choose_device,
    common_arguments,
    descend,
    learning_rate,
    limits,
    run,
    seed_step,
)

RECOGNITION = 0.1
"""Weight of the loss of the phonemes."""

FAR = 10.0
"""Components of the vectors of unused codes, relative to the largest of the others."""

RAMP_SECONDS = 1.0
"""Time from the start of an utterance in which the weight of its frames grows to its full value."""


Prepared = dict[str, Any]
"""What `prepare` returns and `voices_of` needs: tensors, and the names of the speakers."""


@dataclass(frozen=True)
class Voices:
    """Utterances as the encoder's convolutions give them, with what the encoder should make of them.

    Attributes:
        before: `[latents, width]` of each utterance.
        first: `[frames]` of each: its first codes, or `UNKNOWN`.
        speakers: number of the speaker of each.
        targets: `[speakers, code width]`: where the voice of each lies; for those who have a code, its vector.
        codes: of each speaker by name: the nearest one.
    """

    before: list[Tensor]
    first: list[Tensor]
    speakers: Tensor
    targets: Tensor
    codes: dict[str, int]

    def draw(self, count: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw with torch's global generator.

        Returns:
            `[count, latents, width]`: for each example, utterances of one speaker, one after the other; the first codes
            `[count, frames]`; and the vectors of the voices, `[count, code width]`.
        """
        which = torch.randint(len(self.speakers), (count,))
        rows = [self._fill(int(one), frames) for one in which]
        before, first = (torch.stack(column) for column in zip(*rows, strict=True))
        return before, first, self.targets[self.speakers[which]]

    def _fill(self, first: int, frames: int) -> tuple[Tensor, Tensor]:
        members = (self.speakers == self.speakers[first]).nonzero()[:, 0]
        chosen = [first, *members[torch.randint(len(members), (8,))].tolist()]
        before = torch.cat([self.before[one] for one in chosen])
        codes = torch.cat([self.first[one] for one in chosen])
        repeats = -(-frames // len(codes))
        return before.repeat(repeats, 1)[: frames * LATENTS_PER_FRAME].float(), codes.repeat(repeats)[:frames].long()


@torch.inference_mode()
def prepare(codec: MimiModel, sentences: Sequence[speech.Sentence], speeds: Sequence[float]) -> Prepared:
    """Return what `voices_of` needs, of each sentence at each speed; each speed gives other speakers.

    Raises:
        ValueError: 1 is not among the speeds.
    """
    if 1.0 not in speeds:
        raise ValueError("codes are made of the speakers at speed 1: add it to the speeds")
    pitch_by_speaker = pitches(sentences)
    names = {name: number for number, name in enumerate(pitch_by_speaker)}
    before, first, features, rows = [], [], [], []
    for (which, speed), sentence in itertools.product(enumerate(speeds), sentences):
        sound = at_speed(speech.load(sentence), speed)
        one = encoded(codec, sound)
        features.append(discriminant.describe(sound, one))
        line = phonemes.timeline(sentence.phonemes, sentence.durations)
        frames = len(one) // LATENTS_PER_FRAME
        codes = torch.full((frames,), phonemes.UNKNOWN)
        if len(line):
            codes = pairs.first_codes(line, frames, codec.config.codebook_size, speed)
        before.append(one.half())
        first.append(codes.short())
        speaker = names[sentence.speaker] * len(speeds) + which
        rows.append((frames, speaker, possible(pitch_by_speaker[sentence.speaker] * speed), speed == 1.0))
        if len(rows) % 500 == 0:
            print(f"{len(rows)} of {len(sentences) * len(speeds)}", flush=True)
    lengths, speakers, pitch, natural = (torch.tensor(column) for column in zip(*rows, strict=True))
    return {
        "before": torch.cat(before),
        "first": torch.cat(first),
        "features": torch.stack(features),
        "frames": lengths,
        "speakers": speakers,
        "pitches": pitch.float(),
        "natural": natural,
        "names": [name if speed == 1 else f"{name}@{speed:g}" for name in names for speed in speeds],
    }


def voices_of(codec: MimiModel, prepared: Prepared, codes: int, seed: int = 0) -> Voices:
    """Make new codes of the voice from the speakers at their natural speed.

    A code can have only one pitch, so the speakers of each pitch get codes of their own, as many as is their share.
    With as many codes as speakers, each is one voice that the decoder can learn exactly. The speakers at other speeds
    have none: from them, the encoder learns where voices lie that it does not know.

    Args:
        codec: whose codebook of the voice is replaced. Codes that are left are moved out of reach.
        prepared: the result of `prepare`.
        codes: number of codes to make, about.
        seed: of the first choice.
    """
    numbers, speakers = prepared["speakers"].unique(return_inverse=True)
    width = codec.config.codebook_dim
    found = discriminant.fit(prepared["features"], speakers, min(discriminant.WIDTH, width))(prepared["features"])
    places = discriminant.means_by(F.pad(found, (0, width - found.shape[1])), speakers)
    count = len(places)
    pitch = torch.zeros(count).scatter(0, speakers, prepared["pitches"])
    natural = torch.zeros(count, dtype=torch.bool).scatter(0, speakers, prepared["natural"])
    centres, targets = [], places.clone()
    for one in pitch[natural].unique():
        members = (natural & (pitch == one)).nonzero()[:, 0]
        share = max(1, round(codes * len(members) / int(natural.sum())))
        some, nearest = cluster(places[members], share, seed)
        centres.append(some)
        targets[members] = some[nearest]
    install(codec, torch.cat(centres))
    lengths = prepared["frames"]
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    own = codebook.quantize(targets.to(codec.device)).tolist()
    return Voices(
        list(prepared["before"].split((lengths * LATENTS_PER_FRAME).tolist())),
        list(prepared["first"].split(lengths.tolist())),
        speakers,
        targets,
        {prepared["names"][number]: code for number, code in zip(numbers.tolist(), own, strict=True)},
    )


def cluster(points: Tensor, count: int, seed: int, rounds: int = 30) -> tuple[Tensor, Tensor]:
    """Group points `[points, width]` by k-means; return the centres `[count, width]` and the nearest of each point."""
    centres = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:count]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sizes = nearest.bincount(minlength=len(centres))
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return centres, torch.cdist(points, centres).argmin(1)


@torch.no_grad()
def install(codec: MimiModel, centres: Tensor) -> None:
    """Make `centres` the codes of the voice, and move the others out of reach.

    Raises:
        ValueError: there are more centres than codes.
    """
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    if len(centres) > len(codebook.embed_sum):
        raise ValueError(f"the codec has only {len(codebook.embed_sum)} codes: make fewer")
    codebook.embed_sum.fill_(float(FAR * centres.abs().max()))
    codebook.embed_sum[: len(centres)] = centres
    codebook.cluster_usage.fill_(1.0)
    codebook._embed = None


class Settler:
    """An encoder that learns to tell a voice."""

    def __init__(self, codec: MimiModel, voices: Voices, batch: int, frames: int, steps: int, peak: float) -> None:
        self.codec, self.voices = pad_plainly(codec), voices
        self.batch, self.frames, self.steps, self.peak = batch, frames, steps, peak
        codec.requires_grad_(False)
        for name, parameter in codec.named_parameters():
            parameter.requires_grad = name.startswith(CODING) and "encoder_seanet" not in name
        self.trained = [parameter for parameter in codec.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, peak, (0.9, 0.98), weight_decay=1e-2, fused=True)
        self.spread = voices.targets.var(0).mean()
        self.weights = (torch.arange(1, frames + 1) / (RAMP_SECONDS * FRAME_RATE)).clamp(max=1)

    def step(self, step: int, seed: int) -> dict[str, Tensor]:
        """Train on one batch; return the losses."""
        seed_step(seed, step)
        before, first, wanted = self.voices.draw(self.batch, self.frames)
        device = self.codec.device
        hidden = self.codec.encoder.encoder_transformer(before.to(device))[0].transpose(1, 2)
        latents = self.codec.encoder.downsample(hidden)
        told = self.codec.quantizer.acoustic_residual_vector_quantizer.input_proj(latents).transpose(1, 2)
        errors = (told - wanted.to(device)[:, None]).square().mean((0, 2)) / self.spread
        voice = (errors * self.weights.to(device)).sum() / self.weights.sum()
        logits = phonetic.recognise(self.codec, latents)
        said = F.cross_entropy(logits.flatten(0, 1), first.to(device).flatten(), ignore_index=phonemes.UNKNOWN)
        loss = voice + RECOGNITION * said
        descend(self.optimiser, self.trained, loss, learning_rate(step, self.steps, self.peak))
        return {"voice": voice.detach(), "end": errors[-1].detach(), "first": said.detach()}


def main() -> None:
    """Train the encoder."""
    parser = common_arguments(__doc__, 1500, 16, 5e-4)
    parser.add_argument("--start", type=Path, required=True, help="a phonetic codec, or a CSM that contains one")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.88, 1.0, 1.14], help="each gives other speakers")
    parser.add_argument("--frames", type=int, default=75, help="of an example")
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
        torch.save(prepare(pad_plainly(codec), sentences, arguments.speeds), stored)
    voices = voices_of(codec, torch.load(stored, weights_only=True), arguments.codes)
    (arguments.out / phonetic.VOICES).write_text(json.dumps(voices.codes, indent=1) + "\n")
    print(f"{len(voices.speakers)} utterances by {len(voices.targets)} speakers", flush=True)
    settler = Settler(codec.to(device), voices, arguments.batch, arguments.frames, arguments.steps, arguments.peak)
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
