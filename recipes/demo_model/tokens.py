"""Stage c: turn speech into codes once, so that training the model never runs the codec.

    python -m recipes.demo_model.tokens --codec work/codec/weights --speech work/speech --out work/tokens

It writes one `.npz` per folder of speech, half a megabyte per hour. Existing files are kept; after the codec has
changed, start with an empty `--out`.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, phonetic, speech
from recipes.demo_model.alignment import Places, places, timed
from recipes.demo_model.export import load_codec
from recipes.demo_model.recordings import at_speed
from recipes.demo_model.training import choose_device, compute_exactly

Codes = NDArray[np.int16]

UNSETTLED = 6
"""Number of frames at the start of a sentence in which the encoder has heard too little of a voice to tell it."""

ANYONE = "anyone"
"""Speaker of texts without a voice, which have only their first codes; see `timings`."""


@dataclass(frozen=True)
class Spoken:
    """A sentence as codes.

    Attributes:
        text: of the sentence.
        speaker: name of the speaker, or `ANYONE`.
        codes: `[frames, codebooks]`: to be said.
        heard: `[frames, codebooks]`: what a reference has of it; see `phonetic.encode`.
        places: `[frames]`: index of the letter that is spoken in each frame.
        exact: whether `places` is accurate to the word.
    """

    text: str
    speaker: str
    codes: Codes
    heard: Codes
    places: Places
    exact: bool = False


@torch.inference_mode()
def encode(
    codec: MimiModel,
    sentences: Sequence[speech.Sentence],
    speeds: Sequence[float] = (1.0,),
    voices: Path | None = None,
    as_heard: str | None = None,
) -> list[Spoken]:
    """Encode each sentence separately, exactly as reference audio is encoded for serving.

    If the codec is phonetic, all sentences of a speaker are to be said in one voice.

    Args:
        codec: whose codes are final.
        sentences: to encode.
        speeds: at which each sentence is played; all except 1.0 give new speakers.
        voices: file by `settle`: the code of each speaker; None for the one that most of the sentences have.
        as_heard: a key of `HEARD`: the code is that of most frames, so that a model learns to repeat what it hears.

    Raises:
        ValueError: a speaker has no code.
    """
    spoken = []
    for number, sentence in enumerate(sentences):
        sound = speech.load(sentence)
        spoken += [_encode_one(codec, sentence, sound, speed) for speed in speeds]
        if (number + 1) % 200 == 0:
            print(f"{number + 1} of {len(sentences)} sentences", flush=True)
    if not pairs.installed(codec):
        return spoken
    if as_heard:
        return _in_one_voice(*HEARD[as_heard](spoken))
    if voices:
        codes = phonetic.read_voices(voices, {one.speaker for one in spoken})
        return _in_one_voice(spoken, {speaker: (code,) for speaker, code in codes.items()})
    return _in_one_voice(spoken, _most_frequent(spoken))


def write(path: Path, spoken: Sequence[Spoken]) -> None:
    """Write all sentences to one file, which is named `.partial` until it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            codes=np.concatenate([one.codes for one in spoken]),
            heard=np.concatenate([one.heard for one in spoken]),
            places=np.concatenate([one.places for one in spoken]),
            frames=np.array([len(one.codes) for one in spoken]),
            texts=np.array([one.text for one in spoken]),
            speakers=np.array([one.speaker for one in spoken]),
            exact=np.array([one.exact for one in spoken]),
        )
    partial.replace(path)


def read(paths: Iterable[Path], codebooks: int | None = None) -> list[Spoken]:
    """Return all sentences of all files, in order.

    Args:
        paths: of the files.
        codebooks: number of codes to keep of each frame; None for all.
    """
    return [
        replace(said, codes=said.codes[:, :codebooks], heard=said.heard[:, :codebooks])
        for path in paths
        for said in _read_one(path)
    ]


def main() -> None:
    """Encode every folder that has not been encoded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=Path, required=True, help="a codec, or a CSM that contains one")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--speeds", type=float, nargs="+", default=[1.0], help="speeds at which each sentence is played"
    )
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--voices", type=Path, help="file by settle: the code of each speaker")
    voice.add_argument(
        "--as-heard", choices=HEARD, help="the code of most frames of a speaker, or of each sentence as a new speaker"
    )
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    compute_exactly()
    codec = load_codec(arguments.codec).to(choose_device(arguments.device))
    for folder in arguments.speech:
        target = arguments.out / f"{folder.name}.npz"
        if target.exists():
            print(f"{target.name} is there already")
            continue
        sentences = speech.read_training([folder])
        spoken = encode(codec, sentences, arguments.speeds, arguments.voices, arguments.as_heard)
        write(target, spoken)
        used = len(np.unique(np.concatenate([one.codes[:, 0] for one in spoken])))
        print(f"{target.name}: {len(spoken)} sentences; {used} of {codec.config.codebook_size} first codes in use")


def _encode_one(codec: MimiModel, sentence: speech.Sentence, sound: NDArray[np.float32], speed: float) -> Spoken:
    played = at_speed(sound, speed)
    line = phonemes.timeline(sentence.phonemes, sentence.durations)
    codes, heard = (part.cpu().numpy().astype(np.int16) for part in phonetic.encode(codec, played, line, speed))
    speaker = sentence.speaker if speed == 1.0 else f"{sentence.speaker}@{speed:g}"
    return Spoken(sentence.text, speaker, codes, heard, places(sentence, played, speed), timed(sentence))


def _most_frequent(spoken: Iterable[Spoken]) -> dict[str, tuple[int, ...]]:
    """Return the acoustic codes that most sentences of each speaker have."""
    votes: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for one in spoken:
        votes[one.speaker][tuple(one.codes[0, 1:].tolist())] += 1
    return {speaker: counted.most_common(1)[0][0] for speaker, counted in votes.items()}


def _heard_of_speakers(spoken: Sequence[Spoken]) -> tuple[Sequence[Spoken], dict[str, tuple[int, ...]]]:
    """Return the sentences, and the acoustic codes that most frames of each speaker have."""
    votes: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for one in spoken:
        settled = one.heard[UNSETTLED:] if len(one.heard) > UNSETTLED else one.heard
        votes[one.speaker].update(map(tuple, settled[:, 1:].tolist()))
    return spoken, {speaker: counted.most_common(1)[0][0] for speaker, counted in votes.items()}


def _heard_of_sentences(spoken: Sequence[Spoken]) -> tuple[Sequence[Spoken], dict[str, tuple[int, ...]]]:
    """Return the same for sentences that each have a speaker of their own."""
    named = [replace(one, speaker=f"{one.speaker} {number} {one.text}") for number, one in enumerate(spoken)]
    return _heard_of_speakers(named)


HEARD = {"speaker": _heard_of_speakers, "sentence": _heard_of_sentences}


def _in_one_voice(spoken: Iterable[Spoken], voices: Mapping[str, tuple[int, ...]]) -> list[Spoken]:
    """Return the sentences with the acoustic codes of their speakers."""
    said = ((one, np.array([voices[one.speaker]], np.int16).repeat(len(one.codes), 0)) for one in spoken)
    return [replace(one, codes=np.hstack([one.codes[:, :1], voice])) for one, voice in said]


def _read_one(path: Path) -> list[Spoken]:
    with np.load(path) as file:
        ends = np.cumsum(file["frames"])[:-1]
        parts = [np.split(file[name], ends) for name in ("codes", "heard", "places")]
        columns = (file["texts"].tolist(), file["speakers"].tolist(), *parts, file["exact"].tolist())
    return [Spoken(*row) for row in zip(*columns, strict=True)]


if __name__ == "__main__":
    main()
