"""Parts of sentences: a model that hears the same few sentences again and again soon knows them by heart."""

from dataclasses import replace

import numpy as np

from recipes.demo_model.tokens import Spoken

FEWEST_WORDS = 2


def excerpt(said: Spoken, rng: np.random.Generator) -> Spoken:
    """Some words in a row of a sentence, often all of them; the whole where it is not known when each is spoken."""
    words = said.text.split(" ")
    if not said.exact or len(words) <= FEWEST_WORDS:
        return said
    count = int(rng.integers(FEWEST_WORDS, len(words) + 1))
    first = int(rng.integers(len(words) - count + 1))
    text, begin = " ".join(words[first : first + count]), len(" ".join(words[:first])) + bool(first)
    frames = (said.places >= begin) & (said.places <= begin + len(text))
    if not frames.any():  # words so short that they fall between two frames
        return said
    places = np.minimum(said.places[frames] - begin, len(text) - 1)
    return replace(said, text=text, codes=said.codes[frames], places=places)
