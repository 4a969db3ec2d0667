"""Excerpts of sentences, so that the model does not memorise a small number of sentences."""

from dataclasses import replace

import numpy as np

from recipes.demo_model.tokens import Spoken

MIN_WORDS = 2


def excerpt(said: Spoken, rng: np.random.Generator) -> Spoken:
    """Return some consecutive words of a sentence, or all of them; always all if their times are not known."""
    words = said.text.split(" ")
    if not said.exact or len(words) <= MIN_WORDS:
        return said
    count = int(rng.integers(MIN_WORDS, len(words) + 1))
    first = int(rng.integers(len(words) - count + 1))
    text, begin = " ".join(words[first : first + count]), len(" ".join(words[:first])) + bool(first)
    frames = (said.places >= begin) & (said.places <= begin + len(text))
    if not frames.any():  # words so short that they fall between two frames
        return said
    places = np.minimum(said.places[frames] - begin, len(text) - 1)
    return replace(said, text=text, codes=said.codes[frames], heard=said.heard[frames], places=places)
