"""Texts that nobody has spoken: a synthesiser times their first codes, and any voice says them."""

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from recipes.demo_model import heldout, pairs, phonemes, timings, tokens
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.dialogue import Corpus, split
from recipes.demo_model.kokoro import STYLE_WIDTH, UNIT, Kokoro
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import ANYONE, Spoken
from recipes.demo_model.training import randomness

needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")


@needs_flite
def test_a_text_has_its_phonemes_in_order_and_at_the_pace() -> None:
    text = "We see the sea."
    said = timings.time(text, 1.0, 512)
    assert said is not None and said.exact and said.codes.shape == (len(said.places), 1)
    of_code = [(0, 0), *pairs.pairs()]
    heard = [phoneme for code in said.codes[:, 0] for phoneme in of_code[code]]
    symbols = "".join(phonemes.SOUNDS[one - 1] if one else " " for one in heard)
    kinds = [one for one, before in zip(symbols, " " + symbols, strict=False) if one not in (" ", before)]
    assert "".join(kinds).startswith("wisiðəsi")
    assert (np.diff(said.places) >= 0).all() and text[said.places[len(said.places) // 4]] in "We see"
    slow = timings.time(text, 0.5, 512)
    assert slow is not None and len(slow.codes) == pytest.approx(2 * len(said.codes), rel=0.15)


@needs_flite
def test_a_text_whose_words_cannot_be_told_apart_is_left_out() -> None:
    assert timings.time("A -- dash.", 1.0, 512) is None


class TenthOfASecondEach:
    """Stands for Kokoro: a symbol per letter, each four units long."""

    def phonemes(self, text: str) -> str:
        return text.lower()

    def durations(self, phonemes: str, style: np.ndarray, speed: float) -> list[int]:
        assert speed == 1.0 and style.shape == (1, STYLE_WIDTH)
        return [4] * (len(phonemes) + 2)


def test_kokoro_tells_the_times_of_its_own_speech_at_the_pace() -> None:
    voices = {name: np.zeros((1, STYLE_WIDTH), np.float32) for name in ("af_heart", heldout.VOICES[0])}
    times = timings.ByKokoro(voices, cast(Kokoro, TenthOfASecondEach()))
    assert times("we see", 0.5) == ("we see", [8] * 8)
    said = timings.time("we see", 0.5, 512, times)
    assert said is not None and said.exact and len(said.codes) == 8 * 8 * UNIT // SAMPLES_PER_FRAME


def test_a_share_of_the_texts_is_two_of_them() -> None:
    found = [f"Text {number}." for number in range(999)]
    said = list(timings.joined(found, 0.5, random.Random(0)))
    assert " ".join(said) == " ".join(found) and 550 < len(said) < 750
    assert list(timings.joined(found, 0.0, random.Random(0))) == found


def _spoken(speaker: str, text: str, codes: np.ndarray) -> Spoken:
    return Spoken(text, speaker, codes.astype(np.int16), codes.astype(np.int16), np.arange(len(codes)).astype(np.int16))


def test_a_text_without_a_voice_gets_that_of_its_reference() -> None:
    texts = ["one", "two", "six"]
    voices = {"a": [7, 8], "b": [3, 4]}
    spoken = [
        _spoken(speaker, text, np.array([[number + 1, *voice]] * 3))
        for speaker, voice in voices.items()
        for number, text in enumerate(texts)
    ]
    nobody = _spoken(ANYONE, "ten", np.array([[9], [10], [11]]))
    corpus = Corpus([*spoken, nobody, nobody], make_tokenizer())
    assert len(corpus.order) == 8 and ANYONE not in corpus.speakers
    rng = randomness(0, 0)
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(40):
        rows = corpus.example(6, 1.0, rng).rows
        frames = rows[rows[:, 0] > 0, :-1]
        said = frames[-3:]
        assert said[:, 0].tolist() == [9, 10, 11]
        assert len({tuple(frame) for frame in frames[:, 1:].tolist()}) == 1, "reference and target have one voice"
        seen[tuple(said[0, 1:].tolist())] += 1
    assert set(seen) == {(7, 8), (3, 4)}


def test_texts_without_a_voice_are_for_training_only() -> None:
    nobody = _spoken(ANYONE, "ten", np.array([[9], [10], [11]]))
    training, validation = split([nobody], share=1.0)
    assert training == [nobody] and not validation


def test_texts_without_a_voice_survive_the_disk(tmp_path: Path) -> None:
    nobody = _spoken(ANYONE, "ten", np.array([[9], [10], [11]]))
    tokens.write(tmp_path / "a.npz", [nobody])
    [again] = tokens.read([tmp_path / "a.npz"], codebooks=3)
    assert again.speaker == ANYONE and np.array_equal(again.codes, nobody.codes)
