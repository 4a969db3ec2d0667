"""Stage b: let other speakers say each sentence, and each of them also in a monotone.

    python -m recipes.demo_model.flatten --speech work/kokoro work/joe --out work/flat --changes 0.9 1.1:1.2

It writes a folder of speech per folder of speech. Sentences without durations are left out. If it is stopped, the same
command continues.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from recipes.demo_model import pairs, phonemes, speech
from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.data import SUBTYPES
from recipes.demo_model.kokoro import UNIT
from recipes.demo_model.monotone import Analysed, pitch_of, possible
from recipes.demo_model.recordings import at_speed
from recipes.demo_model.speech import INDEX, Sentence

PITCH_SENTENCES = 4
"""Number of sentences from which the pitch of a speaker is measured."""


@dataclass(frozen=True)
class Change:
    """How another speaker is made of one: played at `speed`, and then with `pitch` times the pitch.

    `pace` makes the same speaker say everything faster, or slower if it is less than 1.
    """

    speed: float = 1.0
    pitch: float = 1.0
    pace: float = 1.0

    @property
    def suffix(self) -> str:
        """The end of the name of a speaker who is made in this way, as in `settle` and `tokens`."""
        if self.pitch == 1:
            return "" if self.speed == 1 else f"@{self.speed:g}"
        return f"@{self.speed:g}:{self.pitch:g}"

    @classmethod
    def parse(cls, text: str) -> "Change":
        """Return the change for "speed", "speed:pitch" or "speed:pitch:pace"."""
        return cls(*map(float, text.split(":")))


def flatten(sentences: Sequence[Sentence], changes: Sequence[Change], out: Path, contrast: float = 1.0) -> int:
    """Write the sentences that are not in `out` yet, and return the number of those that are.

    Args:
        sentences: to be said; those without durations are left out.
        changes: by which each is varied; each gives another speaker.
        out: folder of speech.
        contrast: of the monotones; see `Analysed.monotone`.

    Raises:
        ValueError: no sentence has durations.
    """
    timed = [sentence for sentence in sentences if sentence.durations]
    if not timed:
        raise ValueError("no sentence has the durations of its phonemes: add them with recipes.demo_model.label")
    out.mkdir(parents=True, exist_ok=True)
    done = len((out / INDEX).read_text().splitlines()) if (out / INDEX).exists() else 0
    wanted, pitch_by_speaker = list(itertools.product(timed, changes)), pitches(timed)
    with (out / INDEX).open("a") as index:
        for number, (sentence, change) in enumerate(wanted[done:], done):
            entry = _change(sentence, change, pitch_by_speaker[sentence.speaker], out / f"{number:05d}", contrast)
            index.write(json.dumps(entry) + "\n")
            index.flush()
            if (number + 1) % 200 == 0:
                print(f"{number + 1} of {len(wanted)}", flush=True)
    return len(wanted)


def pitches(sentences: Sequence[Sentence]) -> dict[str, float]:
    """Return the median pitch of each speaker over a few sentences, in Hz."""
    groups = speech.by_speaker(sentences)
    return {
        speaker: float(np.median([pitch_of(speech.load(sentences[member])) for member in members[:PITCH_SENTENCES]]))
        for speaker, members in groups.items()
    }


def _change(sentence: Sentence, change: Change, pitch: float, path: Path, contrast: float) -> dict[str, Any]:
    """Write one sentence, and return its line of the index."""
    sound = at_speed(speech.load(sentence), change.speed)
    ends = np.cumsum(sentence.durations) * UNIT / SAMPLE_RATE / change.speed
    analysed = Analysed(sound, phonemes.timeline(sentence.phonemes, phonemes.durations(ends.tolist())), change.pace)
    durations = phonemes.durations((ends / change.pace).tolist())
    line = phonemes.timeline(sentence.phonemes, durations)
    natural = sound if change.pitch == change.pace == 1 else analysed.raised(change.pitch)
    _write(path.with_suffix(".flac"), natural)
    constant = possible(pitch * change.speed * change.pitch)
    said = pairs.on_the_grid(line, -(-len(natural) // SAMPLES_PER_FRAME))
    _write(path.with_suffix(".monotone.flac"), analysed.monotone(constant, said, contrast))
    return {
        "file": f"{path.name}.flac",
        "monotone": f"{path.name}.monotone.flac",
        "pitch": constant,
        "text": sentence.text,
        "phonemes": sentence.phonemes,
        "durations": durations,
        "speaker": sentence.speaker + change.suffix,
        "seconds": round(len(natural) / SAMPLE_RATE, 2),
    }


def _write(path: Path, sound: np.ndarray) -> None:
    container, subtype = SUBTYPES["flac"]
    soundfile.write(path, speech.level(sound), SAMPLE_RATE, subtype, format=container)


def main() -> None:
    """Change every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--changes",
        type=Change.parse,
        nargs="+",
        default=[Change()],
        metavar="SPEED[:PITCH[:PACE]]",
        help="factors by which each sentence is played faster and raised in pitch; each gives another speaker, "
        "whose pace is the third factor",
    )
    parser.add_argument("--contrast", type=float, default=1.0, help="factor of the spectral differences in monotones")
    arguments = parser.parse_args()
    for folder in arguments.speech:
        count = flatten(
            speech.read_training([folder]), arguments.changes, arguments.out / folder.name, arguments.contrast
        )
        print(f"{folder.name}: {count} sentences", flush=True)


if __name__ == "__main__":
    main()
