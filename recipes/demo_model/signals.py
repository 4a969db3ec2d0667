"""Compute, for `distil`, what a codec's convolutions give for speech, and what they need to say it in a monotone.

    python -m recipes.demo_model.signals --teacher csm/assets/demo --speech work/kokoro work/joe --out work/signals

It writes one `.pt` per folder of speech, 70 MB per hour; existing files are kept. Sentences without durations are left
out.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, speech
from recipes.demo_model.architecture import LATENTS_PER_FRAME, SAMPLES_PER_FRAME
from recipes.demo_model.export import load_codec
from recipes.demo_model.monotone import Analysed, pitch_of
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.recordings import Samples, at_speed
from recipes.demo_model.training import choose_device, compute_exactly

PITCH_SENTENCES = 4
"""Number of sentences from which the pitch of a speaker is measured."""


@dataclass(frozen=True)
class Change:
    """How another speaker is made of one: played at `speed`, and then with `pitch` times the pitch."""

    speed: float = 1.0
    pitch: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Change":
        """Return the change for "speed" or "speed:pitch"."""
        speed, _, pitch = text.partition(":")
        return cls(float(speed), float(pitch or 1))


def compute(codec: MimiModel, sentences: Sequence[speech.Sentence], changes: Sequence[Change]) -> dict[str, Tensor]:
    """Return the attributes of `distil.Signals`.

    Args:
        codec: the teacher.
        sentences: to encode; those without durations are left out.
        changes: by which each sentence is varied; each gives another speaker.

    Raises:
        ValueError: no sentence has durations.
    """
    timed = [sentence for sentence in sentences if sentence.durations]
    if not timed:
        raise ValueError("no sentence has the durations of its phonemes: add them with recipes.demo_model.label")
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    pitch_by_speaker, names = pitches(timed), []
    for sentence, change in itertools.product(timed, changes):
        sound, speed = at_speed(speech.load(sentence), change.speed), change.speed
        line = phonemes.timeline(sentence.phonemes, sentence.durations)
        names.append(f"{sentence.speaker}@{speed:g}:{change.pitch:g}")
        analysed = Analysed(sound, line, speed)
        before = encoded(codec, sound if change.pitch == 1 else analysed.raised(change.pitch))
        pitch = pitch_by_speaker[sentence.speaker] * speed * change.pitch
        after = needed(codec, encoded(codec, analysed.monotone(pitch)))
        labels = phonemes.labels(line, pairs.AHEAD * speed, speed, len(before) // LATENTS_PER_FRAME)
        codes = pairs.codes_of(torch.from_numpy(labels), codec.config.codebook_size)
        parts.append((before.half().cpu(), after.half().cpu(), codes.short()))
        if len(parts) % 200 == 0:
            print(f"{len(parts)} of {len(timed) * len(changes)}", flush=True)
    before, after, codes = (torch.cat(columns) for columns in zip(*parts, strict=True))
    frames = torch.tensor([len(codes) for _, _, codes in parts])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    speakers = torch.tensor([numbers[name] for name in names])
    return {"before": before, "after": after, "codes": codes, "frames": frames, "speakers": speakers}


@torch.inference_mode()
def encoded(codec: MimiModel, sound: Samples) -> Tensor:
    """Return the output of the encoder's convolutions, `[latents, width]`."""
    samples = F.pad(torch.from_numpy(sound), (0, -len(sound) % SAMPLES_PER_FRAME))[None, None].to(codec.device)
    latents: Tensor = codec.encoder.encoder_seanet(samples)[0].T
    return latents


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
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--changes",
        type=Change.parse,
        nargs="+",
        default=[Change()],
        metavar="SPEED[:PITCH]",
        help="factors by which each sentence is played faster and then raised in pitch; each gives another speaker",
    )
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
        torch.save(compute(codec, speech.read_training([folder]), arguments.changes), partial)
        partial.replace(target)


def pitches(sentences: Sequence[speech.Sentence]) -> dict[str, float]:
    """Return the median pitch of each speaker over a few sentences, in Hz."""
    groups = speech.by_speaker(sentences)
    return {
        speaker: float(np.median([pitch_of(speech.load(sentences[member])) for member in members[:PITCH_SENTENCES]]))
        for speaker, members in groups.items()
    }


if __name__ == "__main__":
    main()
