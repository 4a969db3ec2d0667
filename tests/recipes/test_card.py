"""The model card shows scores of one source of speech, or of several side by side."""

from typing import Any

import pytest

from recipes.demo_model.card import model_card


def _card(scores: dict[str, Any]) -> str:
    return model_card({"trained": False, "shape": {"codec": "small"}, "codec_steps": 0, "scores": scores})


def test_one_source() -> None:
    assert "| The codec, re-synthesising |  |\n| --- | --- |\n| wer | 0.136 |\n" in _card({"codec": {"wer": 0.136}})


def test_several_sources() -> None:
    card = _card({"codec": {"kokoro": {"wer": 0.1, "trials": 12.0}, "joe": {"wer": 0.2, "trials": 12.0}}})
    assert "| The codec, re-synthesising | kokoro | joe |\n| --- | --- | --- |\n| wer | 0.1 | 0.2 |\n" in card
    assert "| trials | 12 | 12 |" in card


def test_what_a_model_misses_is_told() -> None:
    facts = {"trained": True, "shape": {"codec": "small"}, "scores": {}}
    assert "misses" not in model_card(facts)
    assert "asks for 80 %, which this model misses" in model_card(facts | {"missed": "80 %"})


@pytest.mark.parametrize("scores", [{}, {"model": {"wer": 0.25}}])
def test_what_was_not_scored_is_not_told(scores: dict[str, Any]) -> None:
    assert ("Scores" in _card(scores)) is bool(scores)
    assert "re-synthesising" not in _card(scores)
