"""Pack as much speech as fits into one folder, as Opus, to transfer it to another machine.

    python -m recipes.demo_model.pack --speech work/kokoro work/joe work/flite --out work/carried --megabytes 55

Each folder gets the same share of the size. An hour takes about 17 MB, and with monotones twice as much. At a
much lower bit rate, a codec would learn the artefacts of Opus.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from recipes.demo_model import speech
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.data import SUBTYPES
from recipes.demo_model.speech import INDEX, Sentence


def pack(folders: Sequence[Sequence[Sentence]], out: Path, size: float, seed: int = 0) -> int:
    """Write random sentences of every folder until each has used its share of `size` bytes; return their number."""
    out.mkdir(parents=True, exist_ok=True)
    container, subtype = SUBTYPES["opus"]
    entries = []
    for number, sentences in enumerate(folders):
        room = size / len(folders)
        for position in np.random.default_rng((seed, number)).permutation(len(sentences)):
            sentence = sentences[position]
            sounds = {"file": speech.load(sentence)}
            if sentence.monotone:
                sounds["monotone"] = speech.load_monotone(sentence)
            paths = {name: out / f"{number}-{position:05d}-{name}.opus" for name in sounds}
            for name, sound in sounds.items():
                soundfile.write(paths[name], sound, SAMPLE_RATE, subtype, format=container)
            room -= sum(path.stat().st_size for path in paths.values())
            if room < 0:
                for path in paths.values():
                    path.unlink()
                break
            entries.append(
                {name: path.name for name, path in paths.items()}
                | {
                    "pitch": sentence.pitch,
                    "text": sentence.text,
                    "phonemes": sentence.phonemes,
                    "durations": sentence.durations,
                    "speaker": sentence.speaker,
                    "seconds": sentence.seconds,
                }
            )
    (out / INDEX).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return len(entries)


def main() -> None:
    """Pack speech."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=55.0)
    arguments = parser.parse_args()
    folders = [speech.read_training([folder]) for folder in arguments.speech]
    print(f"{pack(folders, arguments.out, arguments.megabytes * 1e6)} sentences")


if __name__ == "__main__":
    main()
