"""The natural voice: plans, and times in Kokoro's terms. The voice itself needs packages that tests do without."""

from itertools import islice
from types import SimpleNamespace

import numpy as np

from recipes.demo_model import piper

TEXTS = [f"Sentence {chr(97 + index)}." for index in range(20)]


def test_a_plan_repeats_and_says_each_text_once() -> None:
    first, again = ([*piper.plan(TEXTS, seed=3)] for _ in range(2))
    assert [(one.name, one.speed, text) for one, text in first] == [(one.name, one.speed, text) for one, text in again]
    assert sorted(text for _, text in first) == TEXTS


def test_a_speaker_says_several_sentences_and_the_next_one_is_another() -> None:
    names = [one.name for one, _ in islice(piper.plan(TEXTS, seed=3), 2 * piper.SENTENCES_PER_SPEAKER)]
    assert len(set(names)) == 2 and len(set(names[: piper.SENTENCES_PER_SPEAKER])) == 1


def test_letters_become_kokoros_and_what_lengthens_a_sound_belongs_to_it() -> None:
    spoken = [
        ("^", 600),
        ("w", 1200),
        ("\u02c8", 600),
        ("\u0254", 600),
        ("\u02d0", 600),
        ("\u027e", 600),
        ("\u025a", 1200),
        ("$", 1800),
    ]
    alignments = [SimpleNamespace(phoneme=letter, num_samples=count) for letter, count in spoken]
    said = piper.timed(alignments, rate=12_000, samples=np.zeros(14_400, np.float32))
    assert said.phonemes == "w\u02c8\u0254\u0254T\u025c"
    assert said.durations == [2, 4, 2, 2, 2, 2, 4, 6]
