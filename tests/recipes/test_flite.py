"""The fast voices: plans repeat, speakers differ, and flite itself says the words at the pace and speed asked for."""

import shutil
from itertools import islice

import numpy as np
import pytest

from recipes.demo_model import flite

TEXTS = [f"Sentence {chr(97 + index)}." for index in range(10)]


def test_a_speaker_says_several_sentences_and_a_plan_repeats() -> None:
    first, again = ([*islice(flite.plan(TEXTS, seed=3), 60)] for _ in range(2))
    assert [(one.name, one.speed, text) for one, text in first] == [(one.name, one.speed, text) for one, text in again]
    speakers = [one.name for one, _ in first]
    assert speakers[: flite.SENTENCES_PER_SPEAKER] == speakers[:1] * flite.SENTENCES_PER_SPEAKER
    assert len(set(speakers)) > 3


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
