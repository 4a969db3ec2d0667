"""The evaluation's arithmetic, and its road through `transformers`, without the judges' weights."""

from pathlib import Path

import numpy as np
import pytest

from recipes.demo_model import judges
from recipes.demo_model.evaluate import Cloner, average, resynthesise, trials
from recipes.demo_model.export import passes
from recipes.demo_model.speech import Sentence
from tests import tiny_checkpoints


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("One two three four.", "one two, three four", 0.0),
        ("One two three four.", "one three four", 0.25),
        ("One two three four.", "one two two three five", 0.5),
        ("One two.", "", 1.0),
        ("One.", "two three four", 3.0),
        ("It's a well-known shop.", "its a well known shop", 0.0),
    ],
)
def test_word_error_rate(said: str, heard: str, rate: float) -> None:
    assert judges.word_error_rate(said, heard) == pytest.approx(rate)


def test_word_error_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        judges.word_error_rate("...", "word")


def test_trials_take_reference_and_stranger_that_do_not_say_the_target() -> None:
    sentences = [Sentence(Path("x"), text, who, 1.0) for who in "abc" for text in ("one", "two", "three")]
    for own, target, stranger in trials(sentences, seed=0):
        assert own.speaker == target.speaker != stranger.speaker
        assert target.text not in (own.text, stranger.text)


def test_cloner_speaks_with_and_without_a_reference(tmp_path: Path) -> None:
    cloner = Cloner(tiny_checkpoints.save(tmp_path))
    cloner.model.generation_config.max_new_tokens = 3
    reference = np.random.default_rng(0).standard_normal(12_000).astype(np.float32) * 0.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipes.demo_model.evaluate.MAX_FRAMES", 3)
        cloned, again = (cloner.say("Hello.", "Heard.", reference, seed=1) for _ in range(2))
        alone = cloner.say("Hello.", None, None, seed=1)
    assert cloned.shape == alone.shape == (3 * 1920,)
    assert np.array_equal(cloned, again) and not np.array_equal(cloned, alone)


def test_resynthesis_is_as_long_as_the_original() -> None:
    codec = tiny_checkpoints.make().codec_model
    assert resynthesise(codec, np.zeros(5000, np.float32), np.zeros(0, np.int64)).shape == (5000,)


def test_average_counts_its_trials() -> None:
    assert average([{"wer": 0.0}, {"wer": 0.5}]) == {"wer": 0.25, "trials": 2.0}


@pytest.mark.parametrize(("wer", "nearer", "passed"), [(0.34, 0.8, True), (0.35, 0.9, False), (0.1, 0.79, False)])
def test_the_gate(wer: float, nearer: float, passed: bool) -> None:
    assert passes({"wer": wer, "nearer_to_own": nearer}) is passed
