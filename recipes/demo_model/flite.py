"""Stage a, again: speech by the hour from flite (Debian), far faster than Kokoro but in few voices, for its texts.

    python -m recipes.demo_model.flite --out work/flite --hours 2 --share 1 2

Each speaker is one of flite's voices at a pace of its own, played at a speed of its own. Stopped at any point, the same
command goes on where it was.
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
"""flite's names of sounds, and Kokoro's of the same."""

Phone = tuple[str, float]
"""A name of flite's and the second at which it ends."""


def plan(texts: list[str], seed: int, each: int = SENTENCES_PER_SPEAKER) -> Iterator[tuple[Speaker, str]]:
    """Yield who says what, each text once. A speaker's style: which voice, and the speed at which it is played."""
    order = random.Random(seed).sample(texts, len(texts))
    for number, text in enumerate(order):
        yield _draw_speaker(random.Random(f"{seed}/{number // each}")), text


def speak(voice: str, text: str, pace: float) -> tuple[np.ndarray, int, list[Phone]]:
    """Return what flite says, its rate, and when each sound ends."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        stretch = f"duration_stretch={1 / pace:.3f}"
        command = ["flite", "-voice", voice, "--setf", stretch, "-psdur", "-t", text, "-o", file.name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sound, rate = soundfile.read(file.name, dtype="float32")
    phones = [(name, float(end)) for name, _, end in (one.partition(":") for one in printed.split()) if end]
    return sound, rate, phones


@functools.cache
def sounds_of(word: str) -> int:
    """Return of how many sounds flite makes a word that stands alone: the same as in a sentence, nearly always."""
    plain = re.sub(r"[^A-Za-z'-]", "", word)
    command = ["flite", "-voice", "slt", "-ps", "-t", plain, "none"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sum(name != SILENCE for name in printed.split())


def timed(text: str, phones: Sequence[Phone], counts: Sequence[int]) -> tuple[str, list[int]]:
    """Return Kokoro's symbols of a text, one space between words, and their durations; nothing where they do not fit.

    Args:
        text: what was said.
        phones: when each sound ends, silences included.
        counts: of how many sounds each word of the text is made.
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
    """Make speech."""
    parser = data.arguments(__doc__, hours=2.0, seed=1, kind="definitions")
    parser.add_argument("--each", type=int, default=SENTENCES_PER_SPEAKER, help="sentences that a speaker says")
    given = parser.parse_args()
    planned = plan(wordnet.sentences(given.texts, given.share, given.longest), given.seed, given.each)
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
