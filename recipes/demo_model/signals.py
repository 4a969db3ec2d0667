"""Compute what a codec's convolutions give and get, for `distil`.

    python -m recipes.demo_model.signals --teacher csm/assets/demo --speech work/kokoro work/joe --out work/signals

It writes one `.pt` per folder of speech, 70 MB per hour; existing files are kept. Sentences without durations are left
out.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.export import load_codec
from recipes.demo_model.padding import pad_plainly
from recipes.demo_model.recordings import Samples, play
from recipes.demo_model.training import choose_device, compute_exactly


def compute(codec: MimiModel, sentences: Sequence[speech.Sentence], speeds: Sequence[float]) -> dict[str, Tensor]:
    """Return the attributes of `distil.Signals`, and the number of frames of each utterance as `frames`.

    Args:
        codec: the teacher.
        sentences: to encode; those without durations are left out.
        speeds: at which each sentence is played.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for sound, line, speed in _played(sentences, speeds):
        before, after = ends(codec, sound)
        labels = phonemes.labels(line, pairs.AHEAD * speed, speed, len(before) // 2)
        codes = pairs.codes_of(torch.from_numpy(labels), codec.config.codebook_size)
        parts.append((before.half().cpu(), after.half().cpu(), codes.short()))
        if len(parts) % 200 == 0:
            print(f"{len(parts)} of {len(sentences) * len(speeds)}", flush=True)
    before, after, codes = (torch.cat(columns) for columns in zip(*parts, strict=True))
    frames = torch.tensor([len(codes) for _, _, codes in parts])
    return {"before": before, "after": after, "codes": codes, "frames": frames}


@torch.inference_mode()
def ends(codec: MimiModel, sound: Samples) -> tuple[Tensor, Tensor]:
    """Return the output of the encoder's convolutions and the input of the decoder's, both `[latents, width]`."""
    samples = F.pad(torch.from_numpy(sound), (0, -len(sound) % SAMPLES_PER_FRAME))[None, None].to(codec.device)
    before = codec.encoder.encoder_seanet(samples).transpose(1, 2)
    hidden = codec.encoder.encoder_transformer(before)[0].transpose(1, 2)
    codes = codec.quantizer.encode(codec.encoder.downsample(hidden)).transpose(0, 1)
    heard = codec.decoder.upsample(codec.quantizer.decode(codes)).transpose(1, 2)
    return before[0], codec.decoder.decoder_transformer(heard)[0][0]


def main() -> None:
    """Compute the signals of every folder that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="a codec, or a CSM that contains one")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speeds", type=float, nargs="+", default=[1.0], help="at which each sentence is played")
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
        torch.save(compute(codec, speech.read_training([folder]), arguments.speeds), partial)
        partial.replace(target)


def _played(
    sentences: Sequence[speech.Sentence], speeds: Sequence[float]
) -> Iterator[tuple[Samples, phonemes.Labels, float]]:
    """Yield the sound of each sentence at each speed, its timeline at speed 1, and the speed."""
    for sentence in sentences:
        line = phonemes.timeline(sentence.phonemes, sentence.durations)
        if not len(line):
            continue
        sound = speech.load(sentence)
        for speed in speeds:
            yield sound if speed == 1.0 else speech.level(play(sound, speed)), line, speed


if __name__ == "__main__":
    main()
