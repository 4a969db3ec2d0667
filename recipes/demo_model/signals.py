"""Compute, for `distil`, what a codec's convolutions give for speech, and what they need to say it in a monotone.

    python -m recipes.demo_model.signals --teacher csm/assets/demo --speech work/flat/kokoro --out work/signals

It writes one `.pt` per folder of speech, 70 MB per hour; existing files are kept.
"""

import argparse
from collections.abc import Sequence
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


def compute(codec: MimiModel, sentences: Sequence[speech.Sentence]) -> dict[str, Any]:
    """Return the attributes of `distil.Signals`.

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
