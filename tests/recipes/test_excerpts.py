"""Parts of sentences are said in the frames in which their words are, and only where these are known."""

import numpy as np
import pytest

from recipes.demo_model.excerpts import MIN_WORDS, excerpt
from recipes.demo_model.tokens import Spoken
from recipes.demo_model.training import randomness

TEXT = "Ab cde f ghi."


def _say(text: str, exact: bool = True) -> Spoken:
    """Two frames per letter, whose code is the letter's."""
    places = np.repeat(np.arange(len(text)), 2).astype(np.int16)
    codes = np.array([[ord(text[place])] * 2 for place in places], np.int16)
    return Spoken(text, "one", codes, -codes, places, exact)


@pytest.mark.parametrize("seed", range(20))
def test_an_excerpt_is_whole_words_with_their_frames(seed: int) -> None:
    part = excerpt(_say(TEXT), randomness(seed, 0))
    assert f" {part.text} " in f" {TEXT} " and len(part.text.split()) >= MIN_WORDS
    said = [chr(code) for code in part.codes[:, 0]]
    pause = len(said) - len("".join(said).rstrip())  # after the last word; its frames point to the last letter
    assert [part.text[place] for place in part.places] == said[: len(said) - pause] + [part.text[-1]] * pause


def test_all_lengths_come() -> None:
    assert {len(excerpt(_say(TEXT), randomness(seed, 0)).text.split()) for seed in range(40)} == {2, 3, 4}


def test_what_is_not_timed_to_the_word_or_is_short_stays_whole() -> None:
    for said in (_say(TEXT, exact=False), _say("Ab cd.")):
        assert all(excerpt(said, randomness(seed, 0)) is said for seed in range(10))
