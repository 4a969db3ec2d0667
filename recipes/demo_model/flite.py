"""Stage a, alternative: synthesise speech with flite (Debian): far faster than Kokoro, in few voices, for more texts.

    python -m recipes.demo_model.flite --out work/flite --hours 2 --share 1 2

Each speaker is one of flite's voices with its own pace and playback speed. If it is stopped, the same command
continues.
"""

import functools
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from types import MappingProxyType

import numpy as np
import soundfile
import torch
import torchaudio

from recipes.demo_model import data, phonemes
from recipes.demo_model import texts as wordnet
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.data import Speaker
from recipes.demo_model.kokoro import Style, Utterance
from recipes.demo_model.recordings import play

VOICES = ("awb", "rms", "slt")
FASTEST = "kal"
"""The voice that is synthesised fastest; it pronounces words as the others do."""

SENTENCES_PER_SPEAKER = 12
SPEEDS = (0.82, 1.22)
PACES = (0.85, 1.1)
SILENCE = "pau"

PHONES = """
aa ae ah ao aw ax ay b ch d dh dx eh el em en er ey f g hh ih
iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh
"""
KOKOROS = "ɑæʌɔWəIbʧdðTɛlmnɜAfɡhɪiʤklmnŋOYpɹsʃtθʊuvwjzʒ"  # noqa: RUF001 (the letters are meant)
SYMBOLS = MappingProxyType(dict(zip(PHONES.split(), KOKOROS, strict=True)))
"""Kokoro's symbol for each of flite's phonemes."""

Phone = tuple[str, float]
"""The name of a phoneme in flite, and its end in seconds."""


def plan(texts: list[str], seed: int, each: int = SENTENCES_PER_SPEAKER) -> Iterator[tuple[Speaker, str]]:
    """Yield speakers and texts, each text once. The style of a speaker is its voice and its playback speed."""
    order = random.Random(seed).sample(texts, len(texts))
    for number, text in enumerate(order):
        yield _draw_speaker(random.Random(f"{seed}/{number // each}")), text


def speak(voice: str, text: str, pace: float) -> tuple[np.ndarray, int, list[Phone]]:
    """Return flite's samples, their rate in Hz, and the phonemes with their ends."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        stretch = f"duration_stretch={1 / pace:.3f}"
        command = ["flite", "-voice", voice, "--setf", stretch, "-psdur", "-t", text, "-o", file.name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sound, rate = soundfile.read(file.name, dtype="float32")
    phones = [(name, float(end)) for name, _, end in (one.partition(":") for one in printed.split()) if end]
    return sound, rate, phones


@functools.cache
def sounds_of(word: str) -> int:
    """Return the number of phonemes of a word on its own; it is nearly always the same in a sentence."""
    plain = re.sub(r"[^A-Za-z'-]", "", word)
    command = ["flite", "-voice", FASTEST, "-ps", "-t", plain, "none"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sum(name != SILENCE for name in printed.split())


def timed(text: str, phones: Sequence[Phone], counts: Sequence[int]) -> tuple[str, list[int]]:
    """Return Kokoro's symbols for a text, with spaces between words, and durations; empty if the counts do not match.

    Args:
        text: what was said.
        phones: phonemes, including silences, with their ends.
        counts: number of phonemes of each word.
    """
    spoken = [position for position, (name, _) in enumerate(phones) if name != SILENCE]
    if len(spoken) != sum(counts) or not all(counts):
        return "", []
    begins = [phones[position - 1][1] if position else 0.0 for position in spoken]
    symbols, ends, at = "", [begins[0]], 0
    for count in counts:
        if at:
            symbols += " "
            ends.append(begins[at])
        for position in spoken[at : at + count]:
            symbols += SYMBOLS[phones[position][0]]
            ends.append(phones[position][1])
        at += count
    return symbols, phonemes.durations([*ends, phones[-1][1]])


def main() -> None:
    """Synthesise speech."""
    parser = data.arguments(__doc__, hours=2.0, seed=1, kind="definitions")
    parser.add_argument("--each", type=int, default=SENTENCES_PER_SPEAKER, help="sentences per speaker")
    given = parser.parse_args()
    planned = plan(wordnet.sentences(given.texts, given.share, given.max_words, given.common), given.seed, given.each)
    data.make(_speak, planned, given.out, f"f{given.seed}", given.hours * 3600, given.form)


def _draw_speaker(rng: random.Random) -> Speaker:
    voice, speed, pace = rng.choice(VOICES), round(rng.uniform(*SPEEDS), 2), round(rng.uniform(*PACES), 2)
    return Speaker(f"flite-{voice}@{speed}", np.array([VOICES.index(voice), speed], np.float32), pace)


def _speak(text: str, style: Style, pace: float) -> Utterance:
    voice, speed = VOICES[int(style[0])], float(style[1])
    sound, rate, phones = speak(voice, text, pace)
    counts = [sounds_of(word) for word in text.split(" ")]
    symbols, durations = timed(text, [(name, end / speed) for name, end in phones], counts)
    whole = torchaudio.functional.resample(torch.from_numpy(sound), rate, SAMPLE_RATE).numpy()
    return Utterance(symbols, durations, play(whole, speed))


if __name__ == "__main__":
    main()
