"""Stage a, again: speech by the hour from flite (Debian), far faster than Kokoro but in few voices, for its texts.

    python -m recipes.demo_model.flite --out work/flite --hours 2

Each speaker is one of flite's voices at a pace of its own, played at a speed of its own. Stopped at any point, the same
command goes on where it was.
"""

import argparse
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from recipes.demo_model import data
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.data import Speaker
from recipes.demo_model.kokoro import Style, Utterance
from recipes.demo_model.recordings import play

VOICES = ("awb", "rms", "slt")
SENTENCES_PER_SPEAKER = 12
SPEEDS = (0.82, 1.22)
PACES = (0.85, 1.1)


def plan(texts: list[str], seed: int) -> Iterator[tuple[Speaker, str]]:
    """Who says what, for ever. A speaker's style is one number: the speed at which the voice is played."""
    order = random.Random(seed).sample(texts, len(texts))
    group = 0
    while True:
        speaker = _draw_speaker(random.Random(f"{seed}/{group}"))
        for offset in range(SENTENCES_PER_SPEAKER):
            yield speaker, order[(group * SENTENCES_PER_SPEAKER + offset) % len(order)]
        group += 1


def speak(voice: str, text: str, pace: float) -> tuple[np.ndarray, int]:
    """What flite says, and its rate."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / pace:.3f}", "-t", text, "-o", file.name]
        subprocess.run(command, check=True, capture_output=True)
        return soundfile.read(file.name, dtype="float32")


def main() -> None:
    """Make speech."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--longest", type=int, default=10, help="words of the longest sentence")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flac", action="store_true", help="write FLAC: twice as fast as Opus, and larger")
    arguments = parser.parse_args()
    texts = [text for text in data.example_sentences() if len(text.split()) <= arguments.longest]
    planned = plan(texts, arguments.seed)
    form = "flac" if arguments.flac else "opus"
    data.make(_speak, planned, arguments.out, f"f{arguments.seed}", arguments.hours * 3600, form)


def _draw_speaker(rng: random.Random) -> Speaker:
    voice, speed, pace = rng.choice(VOICES), round(rng.uniform(*SPEEDS), 2), round(rng.uniform(*PACES), 2)
    return Speaker(f"flite-{voice}@{speed}", np.array([VOICES.index(voice), speed], np.float32), pace)


def _speak(text: str, style: Style, pace: float) -> Utterance:
    voice, speed = VOICES[int(style[0])], float(style[1])
    sound, rate = speak(voice, text, pace)
    whole = torchaudio.functional.resample(torch.from_numpy(sound), rate, SAMPLE_RATE).numpy()
    return Utterance("", [], play(whole, speed))


if __name__ == "__main__":
    main()
