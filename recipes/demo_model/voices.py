"""The codes of the voice: which speaker has which, and where they lie."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import discriminant, pairs, phonemes, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.flatten import pitches
from recipes.demo_model.monotone import possible
from recipes.demo_model.recordings import at_speed
from recipes.demo_model.signals import encoded
from recipes.demo_model.speakers import SpeakerEncoder

FAR = 10.0
"""Components of the vectors of unused codes, relative to the largest of the others."""

Prepared = dict[str, Any]
"""What `prepare` returns and `voices_of` needs: tensors, and the names of the speakers."""


@dataclass(frozen=True)
class Voices:
    """Utterances as the encoder's first layers give them, with what the encoder should make of them.

    Attributes:
        before: `[rows, width]` of each utterance, as many rows for each frame: one for each latent, or more if only
            some of the convolutions were computed.
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
            `[count, rows, width]`: for each example, utterances of one speaker, one after the other; the first codes
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
        repeats, rows = -(-frames // len(codes)), frames * (len(before) // len(codes))
        return before.repeat(repeats, 1)[:rows].float(), codes.repeat(repeats)[:frames].long()


@torch.inference_mode()
def prepare(
    codec: MimiModel,
    sentences: Sequence[speech.Sentence],
    speeds: Sequence[float],
    others: Sequence[speech.Sentence] = (),
    layers: int | None = None,
) -> Prepared:
    """Return what `voices_of` needs, of each sentence at each speed; each speed gives other speakers.

    Args:
        codec: whose convolutions are computed here, once.
        sentences: by the speakers who get codes.
        speeds: at which each sentence is played; codes are made of those at speed 1.
        others: sentences by further speakers, from whom the encoder learns where voices lie that have no code.
        layers: number of convolutional layers that are final, if not all are.

    Raises:
        ValueError: 1 is not among the speeds.
    """
    if 1.0 not in speeds:
        raise ValueError("codes are made of the speakers at speed 1: add it to the speeds")
    everyone, own = [*sentences, *others], {sentence.speaker for sentence in sentences}
    pitch_by_speaker = pitches(everyone)
    names = {name: number for number, name in enumerate(pitch_by_speaker)}
    listener = SpeakerEncoder()
    before, first, features, rows = [], [], [], []
    for (which, speed), sentence in itertools.product(enumerate(speeds), everyone):
        sound = at_speed(speech.load(sentence), speed)
        one = encoded(codec, sound, layers)
        features.append(listener.of_one(sound))
        line = phonemes.timeline(sentence.phonemes, sentence.durations)
        frames = -(-len(sound) // SAMPLES_PER_FRAME)
        codes = torch.full((frames,), phonemes.UNKNOWN)
        if len(line):
            codes = pairs.first_codes(line, frames, codec.config.codebook_size, speed)
        before.append(one.half())
        first.append(codes.short())
        speaker = names[sentence.speaker] * len(speeds) + which
        coded = speed == 1.0 and sentence.speaker in own
        rows.append((frames, speaker, possible(pitch_by_speaker[sentence.speaker] * speed), coded))
        if len(rows) % 500 == 0:
            print(f"{len(rows)} of {len(everyone) * len(speeds)}", flush=True)
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
    With as many codes as speakers, each is one voice that the decoder can learn exactly. The speakers at other speeds,
    and the others of `prepare`, have none: from them, the encoder learns where voices lie that it does not know.

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
    rows = len(prepared["before"]) // int(lengths.sum())
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    own = codebook.quantize(targets.to(codec.device)).tolist()
    return Voices(
        list(prepared["before"].split((lengths * rows).tolist())),
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
