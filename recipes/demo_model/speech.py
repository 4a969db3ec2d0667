"""A folder of spoken sentences: `index.jsonl` and one sound file per line of it.

Each line has at least `file`, `text`, `speaker` and `seconds`; `durations` tell when each of its `phonemes` is spoken.
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
"""Every sentence is scaled to this peak, so that loudness is not something to learn."""

INDEX = "index.jsonl"


@dataclass(frozen=True)
class Sentence:
    """One spoken sentence on disk; `phonemes` and `durations` as in `Utterance`, empty where they are not known."""

    path: Path
    text: str
    speaker: str
    seconds: float
    phonemes: str = ""
    durations: tuple[int, ...] = ()


def read_index(folder: Path) -> list[Sentence]:
    """All sentences of a folder, in order."""
    entries = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
    return [_sentence(folder, entry) for entry in entries]


def read_training(folders: Iterable[Path]) -> list[Sentence]:
    """All sentences of all folders.

    Raises:
        ValueError: one of them is spoken by a held-out voice, or by a mix with one.
    """
    sentences = [sentence for folder in folders for sentence in read_index(folder)]
    for sentence in sentences:
        if any(voice in sentence.speaker for voice in heldout.VOICES):
            raise ValueError(f"{sentence.speaker} is held out for the judges; remove it from the index")
    return sentences


def load(sentence: Sentence) -> NDArray[np.float32]:
    """Its samples at 24 kHz, scaled to `PEAK`.

    Raises:
        ValueError: the file is at another rate.
    """
    samples, rate = soundfile.read(sentence.path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"{sentence.path.name} is at {rate} Hz; {SAMPLE_RATE} Hz is needed")
    return level(samples)


def level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled to `PEAK`; silence stays silence."""
    return samples * (PEAK / max(1e-3, float(np.abs(samples).max())))


def by_speaker(sentences: Sequence[Sentence]) -> dict[str, list[int]]:
    """Positions in `sentences` of each speaker's own."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, sentence in enumerate(sentences):
        groups[sentence.speaker].append(position)
    return dict(groups)


def _sentence(folder: Path, entry: dict[str, Any]) -> Sentence:
    return Sentence(
        folder / entry["file"],
        entry["text"],
        entry["speaker"],
        float(entry["seconds"]),
        entry.get("phonemes", "") if "durations" in entry else "",
        tuple(entry.get("durations", ())),
    )
