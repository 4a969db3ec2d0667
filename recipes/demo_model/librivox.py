"""Stage a, test set: five recordings of a human voice for scoring a codec; never used for training.

    python -m recipes.demo_model.librivox --out work/librivox

They are public-domain readings by one LibriVox volunteer, in the Debian package pocketsphinx-testdata.
"""

import argparse
import json
import re
from pathlib import Path

import soundfile
import torch
import torchaudio

from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.speech import INDEX, level

RECORDINGS = Path("/usr/share/pocketsphinx/test/data/librivox")


def convert(recordings: Path, out: Path) -> int:
    """Write a folder of speech at 24 kHz; return the number of sentences.

    Args:
        recordings: folder with WAV files and a file `transcription` with a line `<s> text </s> (name)` for each.
        out: folder to write to; created if needed.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = re.findall(r"<s> (.*?) </s> \((.*?)\)", (recordings / "transcription").read_text())
    entries = []
    for text, name in lines:
        sound, rate = soundfile.read(recordings / f"{name}.wav", dtype="float32")
        samples = torchaudio.functional.resample(torch.from_numpy(sound), rate, SAMPLE_RATE).numpy()
        soundfile.write(out / f"{name}.flac", level(samples), SAMPLE_RATE, "PCM_16")
        seconds = round(len(samples) / SAMPLE_RATE, 2)
        entries.append({"file": f"{name}.flac", "text": text, "speaker": "librivox", "seconds": seconds})
    (out / INDEX).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return len(entries)


def main() -> None:
    """Convert the package's recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    print(f"{convert(RECORDINGS, arguments.out)} sentences")


if __name__ == "__main__":
    main()
