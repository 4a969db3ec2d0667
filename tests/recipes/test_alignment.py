"""Where in the text a frame is, and the loss that makes attention look there."""

from pathlib import Path

import numpy as np
import torch

from recipes.demo_model.alignment import Guide, places
from recipes.demo_model.dialogue import NOTHING
from recipes.demo_model.speech import Sentence
from tests import tiny_checkpoints

FRAME = 1920


def _letters(sentence: Sentence, samples: np.ndarray, speed: float = 1.0) -> str:
    return "".join(sentence.text[place] for place in places(sentence, samples, speed))


def test_words_are_where_their_phonemes_are() -> None:
    """A frame is 3.2 units of time: silence of 8, a word of 16, a gap of 16, a word of 8, silence of 8."""
    sentence = Sentence(Path(), "Aa b.", "one", 1.4, "AA b.", (8, 8, 8, 16, 6, 2, 8))
    assert _letters(sentence, np.ones(int(17.5 * FRAME), np.float32)) == "AAAAAaa     bb...."


def test_a_faster_rendering_passes_the_letters_sooner() -> None:
    sentence = Sentence(Path(), "Aa b.", "one", 1.4, "AA b.", (8, 8, 8, 16, 6, 2, 8))
    slow = places(sentence, np.ones(16 * FRAME, np.float32))
    fast = places(sentence, np.ones(8 * FRAME, np.float32), speed=2.0)
    assert np.abs(slow[::2] - fast).max() <= 1


def test_letters_without_known_times_share_what_is_loud() -> None:
    samples = np.concatenate([np.zeros(4 * FRAME), np.ones(4 * FRAME), np.zeros(2 * FRAME)]).astype(np.float32)
    assert _letters(Sentence(Path(), "abcd", "one", 0.8), samples) == "aaaaabcddd"


def test_places_stay_inside_the_text_even_in_silence() -> None:
    assert set(places(Sentence(Path(), "abc", "one", 0.4), np.zeros(5 * FRAME, np.float32))) <= {0, 1, 2}


def test_the_guide_is_low_where_attention_is_near_and_high_where_it_is_far() -> None:
    torch.manual_seed(0)
    model = tiny_checkpoints.make()
    guide, losses = Guide(model), []
    embedded = torch.zeros(1, 40, model.config.hidden_size)  # all alike: attention is spread over what came before
    for wanted in (38, 0):
        model(inputs_embeds=embedded + 0.1, use_cache=False)
        positions = torch.full((1, 40), NOTHING)
        positions[0, 5 if wanted == 0 else 39] = wanted if wanted else 3
        losses.append(guide.loss(positions).item())
    assert losses[1] < losses[0] - 1.0
