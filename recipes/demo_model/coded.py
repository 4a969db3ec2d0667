"""Recordings that are encoded once because their codes are final, which halves the time to train the decoder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, phonetic, recordings, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.recordings import Recording, Samples, Variety
from recipes.demo_model.sounds import FULL_SCALE, Stretches
from recipes.demo_model.speech import Sentence

VOICE_SENTENCES = 2
"""Number of sentences from which the voice of a speaker is measured."""


class CodedSounds:
    """Recordings and their codes, each concatenated, in the memory of one device."""

    def __init__(
        self, samples: Tensor, codes: Tensor, frames: Tensor, device: torch.device, labels: Tensor | None = None
    ) -> None:
        """Copy the tensors to the device.

        Args:
            samples: `[all frames * SAMPLES_PER_FRAME]`, 16-bit, one recording after the other.
            codes: `[all frames, codebooks]`, 16-bit.
            frames: `[recordings]`: number of frames of each.
            device: to copy to.
            labels: `[all frames, LABELS_PER_FRAME]`, 16-bit, if the phonemes are known.
        """
        self.device = device
        self._samples, self._codes = samples.to(device), codes.to(device)
        self._labels = None if labels is None else labels.to(device)
        self._frames, self._first = frames.to(device), (frames.cumsum(0) - frames).to(device)

    def draw(self, count: int, frames: int, variety: Variety) -> Stretches:
        """Draw with torch's global generators. `variety` is ignored: it was applied by `encode`.

        No recording may be shorter than `frames`; `encode` ensures that.
        """
        which = torch.randint(len(self._frames), (count, 1), device=self.device)
        room = self._frames[which] - frames + 1
        start = self._first[which] + (torch.rand(count, 1, device=self.device) * room).long()
        place = start + torch.arange(frames, device=self.device)
        codes = self._codes[place].transpose(1, 2).long()
        labels = None if self._labels is None else self._labels[place].long()
        places = start * SAMPLES_PER_FRAME + torch.arange(frames * SAMPLES_PER_FRAME, device=self.device)
        return Stretches(self._samples[places] / FULL_SCALE, labels, codes)


@torch.inference_mode()
def encode(
    codec: MimiModel, clips: Iterable[Recording], copies: int, shortest: int, variety: Variety, seed: int
) -> dict[str, Tensor]:
    """Return the arguments of `CodedSounds`: several copies of each clip, each with its own speed and loudness.

    Args:
        codec: whose codes are final.
        clips: to encode.
        copies: number of copies of each clip.
        shortest: minimum number of frames; shorter clips are padded with silence.
        variety: of the copies.
        seed: of the random draws.
    """
    samples, codes = [], []
    for played in _varied(clips, copies, variety, np.random.default_rng(seed)):
        samples.append(_padded(played, shortest))
        codes.append(codec.encode(torch.from_numpy(samples[-1])[None, None].to(codec.device)).audio_codes[0].T)
        _report(codes)
    return _rows(samples, codes)


@torch.inference_mode()
def encode_phonetically(
    codec: MimiModel, sentences: Sequence[Sentence], shortest: int, voices: Path | None = None
) -> dict[str, Tensor]:
    """Return the arguments of `CodedSounds` for a phonetic codec: sentences in a monotone, with their voice.

    Args:
        codec: whose codes are final.
        sentences: to encode, each with its monotone.
        shortest: as in `encode`.
        voices: file by `settle`: the code of each speaker; None for those that the encoder gives.

    Raises:
        ValueError: a sentence has no monotone, or a speaker has no code.
    """
    samples, first, labels = [], [], []
    for sentence in sentences:
        samples.append(_padded(speech.load_monotone(sentence), shortest))
        line, frames = phonemes.timeline(sentence.phonemes, sentence.durations), len(samples[-1]) // SAMPLES_PER_FRAME
        said = torch.from_numpy(pairs.labels(line, frames))
        first.append(pairs.codes_of(said, codec.config.codebook_size)[:, None])
        # The monotone says each phoneme a label after its code.
        labels.append(F.pad(said.flatten(), (1, -1), value=phonemes.SILENCE).view(said.shape).short())
        _report(first)
    others = _settled_codes(voices, sentences) if voices else _speakers_codes(codec, sentences)
    codes = [torch.cat([one, voice.expand(len(one), -1)], 1) for one, voice in zip(first, others, strict=True)]
    return _rows(samples, codes) | {"labels": torch.cat(labels)}


def _settled_codes(voices: Path, sentences: Sequence[Sentence]) -> Tensor:
    """Return the codes of the voice, `[sentences, 1]`, from the file of `settle`."""
    codes = phonetic.read_voices(voices, {sentence.speaker for sentence in sentences})
    return torch.tensor([[codes[sentence.speaker]] for sentence in sentences])


def _speakers_codes(codec: MimiModel, sentences: Sequence[Sentence]) -> Tensor:
    """Return the codes of the voice, `[sentences, codebooks - 1]`: all sentences of a speaker have the same."""
    groups = speech.by_speaker(sentences)
    voices = [_voice(codec, [sentences[one] for one in members[:VOICE_SENTENCES]]) for members in groups.values()]
    pitches = torch.tensor([sentences[members[0]].pitch for members in groups.values()], device=codec.device)
    found = phonetic.voice_codes(codec, phonetic.of_pitch(codec, torch.stack(voices), pitches)).cpu()
    codes = torch.zeros(len(sentences), found.shape[1], dtype=found.dtype)
    for code, members in zip(found, groups.values(), strict=True):
        codes[members] = code
    return codes


def _voice(codec: MimiModel, sentences: Sequence[Sentence]) -> Tensor:
    """Return the mean voice of some sentences by one speaker, `[1, code width]`."""
    sounds = (torch.from_numpy(speech.load(one))[None, None].to(codec.device) for one in sentences)
    means = [phonetic.mean_voice(codec, codec.encoder(sound).latents)[0] for sound in sounds]
    return torch.stack(means).mean(0)


def encoded_once(
    path: Path,
    codec: MimiModel,
    folders: Iterable[Path],
    copies: int,
    shortest: int,
    variety: Variety,
    seed: int,
    voices: Path | None = None,
) -> dict[str, Tensor]:
    """Return the result of `encode` for all sentences of the folders; store it in `path`, or read it from there."""
    if not path.exists():
        sentences = speech.read_training(folders)
        if pairs.installed(codec):
            made = encode_phonetically(codec, sentences, shortest, voices)
        else:
            made = encode(codec, map(recordings.load, sentences), copies, shortest, variety, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(made, partial)
        partial.replace(path)
    rows: dict[str, Tensor] = torch.load(path, weights_only=True)
    return rows


def _varied(clips: Iterable[Recording], copies: int, variety: Variety, rng: np.random.Generator) -> Iterator[Samples]:
    for clip in clips:
        for _ in range(copies):
            speed = float(rng.uniform(*variety.speeds)) if rng.random() < variety.share else 1.0
            loudness = np.float32(10 ** (rng.uniform(*variety.decibels) / 20))
            yield loudness * (clip.samples if speed == 1.0 else recordings.play(clip.samples, speed))


def _padded(sound: Samples, shortest: int) -> Samples:
    """Return the samples with silence at the end, so that they fill at least `shortest` whole frames."""
    frames = max(shortest, -(-len(sound) // SAMPLES_PER_FRAME))
    return np.pad(sound, (0, frames * SAMPLES_PER_FRAME - len(sound)))


def _rows(samples: Sequence[Samples], codes: Sequence[Tensor]) -> dict[str, Tensor]:
    whole = (np.concatenate(samples).clip(-1, 1) * FULL_SCALE).round().astype(np.int16)
    frames = torch.tensor([len(one) for one in codes])
    return {
        "samples": torch.from_numpy(whole),
        "codes": torch.cat(list(codes)).to("cpu", torch.int16),
        "frames": frames,
    }


def _report(codes: Sequence[Tensor]) -> None:
    if len(codes) % 500 == 0:
        print(f"{len(codes)} encoded", flush=True)
