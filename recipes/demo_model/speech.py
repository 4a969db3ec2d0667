"""Folders of spoken sentences: `index.jsonl` and one audio file per line of it.

Each line has at least `file`, `text`, `speaker` and `seconds`; optionally, `phonemes` and their `durations`, and
`monotone`, another audio file, with its `pitch` in Hz.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from recipes.demo_model import heldout
from recipes.demo_model.architecture import SAMPLE_RATE

PEAK = 0.7
"""Peak to which every sentence is scaled, so that the model does not have to learn loudness."""

INDEX = "index.jsonl"


@dataclass(frozen=True)
class Sentence:
    """A spoken sentence on disk.

    `phonemes` and `durations` are as in `Utterance`, or empty if not known. `monotone` is the same in a monotone of
    `pitch` Hz, if it exists.
    """

    path: Path
    text: str
    speaker: str
    seconds: float
    phonemes: str = ""
    durations: tuple[int, ...] = ()
    monotone: Path | None = None
    pitch: float = 0.0


def read_index(folder: Path) -> list[Sentence]:
    """Return all sentences of a folder, in order."""
    entries = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
    return [_sentence(folder, entry) for entry in entries]


def read_training(folders: Iterable[Path]) -> list[Sentence]:
    """Return all sentences of all folders.

    Raises:
        ValueError: one is spoken by a held-out voice or a mix with one.
    """
    sentences = [sentence for folder in folders for sentence in read_index(folder)]
    for sentence in sentences:
        if any(voice in sentence.speaker for voice in heldout.VOICES):
            raise ValueError(f"{sentence.speaker} is held out for the judges; remove it from the index")
    return sentences


def load(sentence: Sentence) -> NDArray[np.float32]:
    """Load the samples of a sentence at 24 kHz, scaled to `PEAK`.

    Raises:
        ValueError: the file has another sample rate.
    """
    return _load(sentence.path)


def load_monotone(sentence: Sentence) -> NDArray[np.float32]:
    """Load the same in a monotone, as `load` does.

    Raises:
        ValueError: there is none, or the file has another sample rate.
    """
    if sentence.monotone is None:
        raise ValueError("the speech has no monotone: make it with recipes.demo_model.flatten")
    return _load(sentence.monotone)


def level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale samples to `PEAK`; silence remains silence."""
    return samples * (PEAK / max(1e-3, float(np.abs(samples).max())))


def by_speaker(sentences: Sequence[Sentence]) -> dict[str, list[int]]:
    """Return the positions in `sentences` by speaker."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, sentence in enumerate(sentences):
        groups[sentence.speaker].append(position)
    return dict(groups)


def _load(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"{path.name} is at {rate} Hz; {SAMPLE_RATE} Hz is needed")
    return level(samples)


def _sentence(folder: Path, entry: dict[str, Any]) -> Sentence:
    return Sentence(
        folder / entry["file"],
        entry["text"],
        entry["speaker"],
        float(entry["seconds"]),
        entry.get("phonemes", "") if "durations" in entry else "",
        tuple(entry.get("durations", ())),
        folder / entry["monotone"] if "monotone" in entry else None,
        float(entry.get("pitch", 0)),
    )
