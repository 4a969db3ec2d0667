"""Compute, for `distil`, what a codec's convolutions give for speech, and what they need to say it in a monotone.

    python -m recipes.demo_model.signals --teacher csm/assets/demo --speech work/flat/kokoro --out work/signals

It writes one `.pt` per folder of speech, 70 MB per hour; existing files are kept.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, speech
from recipes.demo_model.architecture import LATENTS_PER_FRAME, SAMPLES_PER_FRAME
from recipes.demo_model.export import load_codec
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.recordings import Samples
from recipes.demo_model.training import choose_device, compute_exactly


@dataclass(frozen=True)
class Excerpts:
    """Places of excerpts in `Signals`.

    Attributes:
        frames: `[count, frames]`: what is said, in `codes`.
        latents: `[count, latents]`: the same in `before` and `after`.
        voices: `[count]`: the utterance that tells the voice.
        heard: `[count, latents]`: an excerpt of it.
    """

    frames: Tensor
    latents: Tensor
    voices: Tensor
    heard: Tensor


class Signals:
    """Inner signals of the teacher for all utterances, each concatenated.

    Attributes:
        before: `[latents, width]`: output of the encoder's convolutions.
        after: `[latents, width]`: input of the decoder's convolutions for the same in a monotone.
        codes: `[frames]`: first codes, from `pairs.first_codes`.
        frames: `[utterances]`: number of frames of each.
        speakers: `[utterances]`: number of the speaker of each.
        names: of the speakers.
        pitches: `[utterances]`: pitch of each monotone in Hz.
    """

    def __init__(self, paths: list[Path]) -> None:
        parts = [torch.load(path, weights_only=True, mmap=True) for path in paths]
        self.before, self.after, self.codes, self.frames, self.pitches = (
            torch.cat([part[name] for part in parts]) for name in ("before", "after", "codes", "frames", "pitches")
        )
        self.names = list(dict.fromkeys(name for part in parts for name in part["names"]))
        numbers = {name: number for number, name in enumerate(self.names)}
        self.speakers = torch.cat(
            [torch.tensor([numbers[name] for name in part["names"]])[part["speakers"]] for part in parts]
        )
        self._firsts = self.frames.cumsum(0) - self.frames
        self._peers = {int(who): (self.speakers == who).nonzero()[:, 0] for who in self.speakers.unique()}

    def draw(self, count: int, frames: int) -> "Excerpts":
        """Return the places of excerpts, each with one of any utterance by the same speaker."""
        said = torch.randint(len(self.frames), (count,))
        voices = torch.stack([self._another(int(self.speakers[one])) for one in said])
        return Excerpts(*self._places(said, frames), voices, self._places(voices, frames)[1])

    def utterances(self) -> Iterator[Tensor]:
        """Yield `before` of each utterance, `[latents, width]`."""
        return iter(self.before.split((self.frames * LATENTS_PER_FRAME).tolist()))

    def _another(self, speaker: int) -> Tensor:
        peers = self._peers[speaker]
        return peers[torch.randint(len(peers), ())]

    def _places(self, which: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Return the places of frames, and of latents, in excerpts; where one is short, its last frame is repeated."""
        lengths = self.frames[which][:, None]
        start = (torch.rand(len(which), 1) * (lengths - frames + 1).clamp(min=1)).long()
        place = self._firsts[which][:, None] + (start + torch.arange(frames)).minimum(lengths - 1)
        return place, (place[..., None] * LATENTS_PER_FRAME + torch.arange(LATENTS_PER_FRAME)).flatten(1)


def compute(codec: MimiModel, sentences: Sequence[speech.Sentence]) -> dict[str, Any]:
    """Return what a file for `Signals` has.

    Args:
        codec: the teacher.
        sentences: to encode, each with its monotone.

    Raises:
        ValueError: a sentence has no monotone.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for sentence in sentences:
        before = encoded(codec, speech.load(sentence))
        after = needed(codec, encoded(codec, speech.load_monotone(sentence)))
        line = phonemes.timeline(sentence.phonemes, sentence.durations)
        codes = pairs.first_codes(line, len(before) // LATENTS_PER_FRAME, codec.config.codebook_size)
        parts.append((before.half().cpu(), after.half().cpu(), codes.short()))
        if len(parts) % 200 == 0:
            print(f"{len(parts)} of {len(sentences)}", flush=True)
    before, after, codes = (torch.cat(columns) for columns in zip(*parts, strict=True))
    frames = torch.tensor([len(codes) for _, _, codes in parts])
    numbers = {name: number for number, name in enumerate(speech.by_speaker(sentences))}
    return {
        "before": before,
        "after": after,
        "codes": codes,
        "frames": frames,
        "speakers": torch.tensor([numbers[sentence.speaker] for sentence in sentences]),
        "names": list(numbers),
        "pitches": torch.tensor([sentence.pitch for sentence in sentences]),
    }


@torch.inference_mode()
def encoded(codec: MimiModel, sound: Samples, layers: int | None = None) -> Tensor:
    """Return the output of the encoder's convolutions, `[latents, width]`.

    Args:
        codec: with the encoder.
        sound: is padded to whole frames.
        layers: number of layers to compute; None for all. The first ones have more rows than there are latents.
    """
    hidden = F.pad(torch.from_numpy(sound), (0, -len(sound) % SAMPLES_PER_FRAME))[None, None].to(codec.device)
    for layer in codec.encoder.encoder_seanet.layers[:layers]:
        hidden = layer(hidden)
    return hidden[0].T


@torch.inference_mode()
def needed(codec: MimiModel, before: Tensor) -> Tensor:
    """Return the input of the decoder's convolutions, `[latents, width]`, for an output of the encoder's."""
    hidden = codec.encoder.encoder_transformer(before[None])[0].transpose(1, 2)
    codes = codec.quantizer.encode(codec.encoder.downsample(hidden)).transpose(0, 1)
    heard = codec.decoder.upsample(codec.quantizer.decode(codes)).transpose(1, 2)
    latents: Tensor = codec.decoder.decoder_transformer(heard)[0][0]
    return latents


def main() -> None:
    """Compute the signals of every folder that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="a codec, or a CSM that contains one")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by flatten")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    compute_exactly()
    codec = pad_plainly(load_codec(arguments.teacher)).to(choose_device(arguments.device))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for folder in arguments.speech:
        target = arguments.out / f"{folder.name}.pt"
        if target.exists():
            print(f"{target.name} is there already")
            continue
        partial = target.with_suffix(".partial")
        torch.save(compute(codec, speech.read_training([folder])), partial)
        partial.replace(target)


if __name__ == "__main__":
    main()
