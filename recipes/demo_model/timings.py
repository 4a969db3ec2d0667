"""Stage c, addition: first codes of texts that nobody has spoken, fifty times as fast as speech.

    python -m recipes.demo_model.timings --codec work/spoken/weights --voices package/voices --out work/tokens/timed.npz

A phonetic codec's first codes follow from the phonemes and their durations, which a synthesiser tells: the one whose
speech the decoder has learnt from, or it will be less clear. That is Kokoro with `--voices`, and flite without. The
other codes are a voice, which stage d takes from any speaker of the other files. So a model can learn from many more
texts.
The file is written at the end: a stopped run starts anew.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from recipes.demo_model import data, flite, pairs, phonemes, texts
from recipes.demo_model.alignment import places, timed
from recipes.demo_model.architecture import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.export import load_codec
from recipes.demo_model.kokoro import UNIT, Kokoro, Style
from recipes.demo_model.speech import Sentence
from recipes.demo_model.tokens import ANYONE, Spoken, write

PACES = (0.65, 1.0)
"""Usual range of the pace. At a faster one, more phonemes are too short for a label."""


Times = Callable[[str, float], tuple[str, Sequence[int]]]
"""Returns the phonemes of a text at a pace, and their durations as in `Utterance`; without durations if they cannot be
told apart."""


def by_flite(text: str, pace: float) -> tuple[str, Sequence[int]]:
    """Ask flite; see `Times`."""
    _, _, phones = flite.speak(flite.FASTEST, text, pace)
    return flite.timed(text, phones, [flite.sounds_of(word) for word in text.split(" ")])


class ByKokoro:
    """Asks Kokoro, in a voice of its own for each text; see `Times`."""

    def __init__(self, voices: dict[str, Style], kokoro: Kokoro) -> None:
        """Use the voices that are not held out."""
        self._voices, self._kokoro = data.for_training(voices), kokoro

    def __call__(self, text: str, pace: float) -> tuple[str, Sequence[int]]:
        """Return phonemes and durations of a text."""
        speaker = data.draw_speaker(self._voices, random.Random(text))
        symbols = self._kokoro.phonemes(text)
        ends = np.cumsum(self._kokoro.durations(symbols, speaker.style, 1.0)) * UNIT / SAMPLE_RATE / pace
        return symbols, phonemes.durations(ends.tolist())


def time(text: str, pace: float, codes: int, times: Times = by_flite) -> Spoken | None:
    """Return a text with its first codes only; None if the phonemes of its words cannot be told apart.

    Args:
        text: to be spoken.
        pace: relative to the normal one.
        codes: number of codes in the codec's first codebook.
        times: tells the phonemes and their durations.
    """
    symbols, durations = times(text, pace)
    sentence = Sentence(Path(), text, ANYONE, 0.0, symbols, tuple(durations))
    if not durations or not timed(sentence):
        return None
    frames = -(-sum(durations) * UNIT // SAMPLES_PER_FRAME)
    first = pairs.first_codes(phonemes.timeline(symbols, durations), frames, codes).numpy().astype(np.int16)[:, None]
    silence = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    return Spoken(text, ANYONE, first, first, places(sentence, silence), exact=True)


def joined(found: Iterable[str], share: float, rng: random.Random) -> Iterator[str]:
    """Yield all texts; a share of what is yielded is two of them, so that the model does not end after a sentence."""
    remaining = iter(found)
    for text in remaining:
        yield f"{text} {next(remaining, '')}".strip() if rng.random() < share else text


def main() -> None:
    """Compute the codes."""
    parser = data.arguments(__doc__, hours=10.0, seed=1, kind="all")
    parser.add_argument("--codec", type=Path, required=True, help="a phonetic codec, or a CSM that contains one")
    parser.add_argument("--paces", type=float, nargs=2, default=PACES, metavar=("SLOWEST", "FASTEST"))
    parser.add_argument(
        "--voices", type=Path, help="folder voices/ of the npm package kokoro-js: ask Kokoro, not flite"
    )
    parser.add_argument("--joined", type=float, default=0.0, help="share of two texts, one after the other")
    given = parser.parse_args()
    times = ByKokoro(data.load_voices(given.voices), Kokoro(threads=1)) if given.voices else by_flite
    codec = load_codec(given.codec)
    if not pairs.installed(codec):
        parser.error("the first codes of this codec are not phonemes: see recipes.demo_model.distil")
    found = texts.sentences(given.texts, given.share, given.max_words, given.common)
    done, spoken, rng = 0.0, [], random.Random(given.seed)
    for text in joined(rng.sample(found, len(found)), given.joined, rng):
        if done >= given.hours * 3600:
            break
        said = time(text, rng.uniform(*given.paces), codec.config.codebook_size, times)
        if said:
            spoken.append(said)
            done += len(said.codes) / FRAME_RATE
            if len(spoken) % 500 == 0:
                print(f"{len(spoken)}: {done / 3600:.2f} of {given.hours:.2f} h", flush=True)
    write(given.out, spoken)
    print(f"{given.out.name}: {len(spoken)} texts, {done / 3600:.1f} h")


if __name__ == "__main__":
    main()
