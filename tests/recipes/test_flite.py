"""The fast voices: plans repeat, speakers differ, and flite itself says the words at the pace and speed asked for."""

import shutil
from itertools import islice

import numpy as np
import pytest

from recipes.demo_model import flite
from recipes.demo_model.kokoro import UNIT

TEXTS = [f"Sentence {chr(97 + index)}." for index in range(10)]


def test_a_speaker_says_several_sentences_and_a_plan_repeats() -> None:
    first, again = ([*islice(flite.plan(TEXTS * 6, seed=3), 60)] for _ in range(2))
    assert [(one.name, one.speed, text) for one, text in first] == [(one.name, one.speed, text) for one, text in again]
    speakers = [one.name for one, _ in first]
    assert speakers[: flite.SENTENCES_PER_SPEAKER] == speakers[:1] * flite.SENTENCES_PER_SPEAKER
    assert len(set(speakers)) > 3


def test_each_text_is_said_once() -> None:
    assert sorted(text for _, text in flite.plan(TEXTS, seed=3)) == TEXTS


PHONES = [("pau", 0.1), ("hh", 0.2), ("iy", 0.3), ("pau", 0.5), ("w", 0.55), ("ey", 0.7), ("t", 0.8), ("pau", 1.0)]
"""The phones of "He, wait", with a pause between the words."""


def test_sounds_become_kokoros_with_their_times() -> None:
    symbols, durations = flite.timed("He, wait", PHONES, [2, 3])
    assert symbols == "hi wAt"
    assert durations == [4, 4, 4, 8, 2, 6, 4, 8]  # in 25 ms; the space is the pause


@pytest.mark.parametrize("counts", [[2, 2], [5, 0]])
def test_words_that_do_not_fit_have_no_times(counts: list[int]) -> None:
    assert flite.timed("He, wait", PHONES, counts) == ("", [])


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flites_own_times_are_exact_to_the_word() -> None:
    """A stop between two long vowels is quiet: it must be where the times say, also when it is played faster."""
    for voice, speed in ((1, 0.9), (2, 1.2)):
        said = flite._speak("We may obey a few people.", np.array([voice, speed], np.float32), 1.0)
        assert len(said.phonemes.split(" ")) == 6
        assert sum(said.durations) * UNIT == pytest.approx(len(said.samples), abs=2 * UNIT)
        ends = np.cumsum(said.durations) * UNIT
        loud = np.abs(said.samples)
        place = said.phonemes.rindex("p") + 1
        assert loud[ends[place - 1] + 240 : ends[place] - 960].mean() < 0.3 * loud.mean()


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_speaks_slower_and_is_played_faster_as_asked() -> None:
    text = "A gentle wind moved the curtains."
    plain, slow, played = (
        flite._speak(text, np.array([2, speed], np.float32), pace).samples
        for speed, pace in ((1.0, 1.0), (1.0, 0.8), (1.2, 1.0))
    )
    assert 1.1 < len(slow) / len(plain) < 1.4
    assert len(played) == pytest.approx(len(plain) / 1.2, abs=2)
    assert np.abs(plain).max() > 0.05
