"""Recordings that are encoded once because their codes are final, which halves the time to train the decoder."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonetic, recordings, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.recordings import Recording, Samples, Variety
from recipes.demo_model.sounds import FULL_SCALE, Stretches


class CodedSounds:
    """Recordings and their codes, each concatenated, in the memory of one device."""

    def __init__(self, samples: Tensor, codes: Tensor, frames: Tensor, device: torch.device) -> None:
        """Copy the tensors to the device.

        Args:
            samples: `[all frames * SAMPLES_PER_FRAME]`, 16-bit, one recording after the other.
            codes: `[all frames, codebooks]`, 16-bit.
            frames: `[recordings]`: number of frames of each.
            device: to copy to.
        """
        self.device = device
        self._samples, self._codes = samples.to(device), codes.to(device)
        self._frames, self._first = frames.to(device), (frames.cumsum(0) - frames).to(device)

    def draw(self, count: int, frames: int, variety: Variety) -> Stretches:
        """Draw with torch's global generators. `variety` is ignored: it was applied by `encode`.

        No recording may be shorter than `frames`; `encode` ensures that.
        """
        which = torch.randint(len(self._frames), (count, 1), device=self.device)
        room = self._frames[which] - frames + 1
        start = self._first[which] + (torch.rand(count, 1, device=self.device) * room).long()
        codes = self._codes[start + torch.arange(frames, device=self.device)].transpose(1, 2).long()
        places = start * SAMPLES_PER_FRAME + torch.arange(frames * SAMPLES_PER_FRAME, device=self.device)
        return Stretches(self._samples[places] / FULL_SCALE, codes=codes)


@torch.inference_mode()
def encode(
    codec: MimiModel, clips: Iterable[Recording], copies: int, shortest: int, variety: Variety, seed: int
) -> dict[str, Tensor]:
    """Return the arguments of `CodedSounds`: several copies of each clip, each with its own speed and loudness.

    If the codec's first codes are phonemes, the samples are in a monotone, as the codes leave the pitch open, and the
    speed is not changed.

    Args:
        codec: whose codes are final.
        clips: to encode.
        copies: number of copies of each clip.
        shortest: minimum number of frames; shorter clips are padded with silence.
        variety: of the copies.
        seed: of the random draws.
    """
    samples, codes = [], []
    for played, wanted, clip, speed in _varied(clips, copies, variety, np.random.default_rng(seed)):
        frames = max(shortest, -(-len(played) // SAMPLES_PER_FRAME))
        padded, target = (np.pad(one, (0, frames * SAMPLES_PER_FRAME - len(one))) for one in (played, wanted))
        samples.append((target.clip(-1, 1) * FULL_SCALE).round().astype(np.int16))
        codes.append(phonetic.encode(codec, padded, clip.timeline, speed)[0].to("cpu", torch.int16))
        if len(codes) % 500 == 0:
            print(f"{len(codes)} encoded", flush=True)
    return {
        "samples": torch.from_numpy(np.concatenate(samples)),
        "codes": torch.cat(codes),
        "frames": torch.tensor([len(one) for one in codes]),
    }


def encoded_once(
    path: Path, codec: MimiModel, folders: Iterable[Path], copies: int, shortest: int, variety: Variety, seed: int
) -> dict[str, Tensor]:
    """Return the result of `encode` for all sentences of the folders; store it in `path`, or read it from there."""
    if not path.exists():
        sentences = speech.read_training(folders)
        clips = map(recordings.load, sentences)
        if pairs.installed(codec):
            variety = replace(variety, share=0.0)
            clips = (replace(recordings.load(one), monotone=speech.load_monotone(one)) for one in sentences)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(encode(codec, clips, copies, shortest, variety, seed), partial)
        partial.replace(path)
    rows: dict[str, Tensor] = torch.load(path, weights_only=True)
    return rows


def _varied(
    clips: Iterable[Recording], copies: int, variety: Variety, rng: np.random.Generator
) -> Iterator[tuple[Samples, Samples, Recording, float]]:
    """Yield the samples of each copy, those to be decoded, the original, and the speed of the copy."""
    for clip in clips:
        for _ in range(copies):
            speed = float(rng.uniform(*variety.speeds)) if rng.random() < variety.share else 1.0
            loudness = np.float32(10 ** (rng.uniform(*variety.decibels) / 20))
            played = loudness * (clip.samples if speed == 1.0 else recordings.play(clip.samples, speed))
            yield played, played if clip.monotone is None else loudness * clip.monotone, clip, speed
