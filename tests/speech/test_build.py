"""A model on disk becomes a warm synthesizer, whichever engine runs it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from csm.errors import ModelUnavailable
from csm.speech.build import build
from tests.speech.parts import settings, speak, utterance


@pytest.mark.parametrize("engine", ["csm", "transformers"])
def test_a_checkpoint_speaks_through_either_engine(engine: str, tiny: Callable[..., Path]) -> None:
    synthesizer = build(settings(model=str(tiny()), engine=engine, device="cpu", precision="float32"))
    try:
        assert synthesizer.status().state == "healthy"
        assert synthesizer.status().details["engine"] == engine
        chunks = list(speak(synthesizer, utterance(seed=1, max_seconds=0.4)))
        assert sum(map(len, chunks)) == 2 * 1920 * 5
        assert list(speak(synthesizer, utterance(seed=1, max_seconds=0.4))) == chunks
        assert list(speak(synthesizer, utterance(seed=2, max_seconds=0.4))) != chunks
    finally:
        synthesizer.close()


def test_the_demo_says_that_it_is_one() -> None:
    synthesizer = build(settings())
    try:
        details = synthesizer.status().details
        assert details["demo"] is True and "demo" in str(details["notice"])
    finally:
        synthesizer.close()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json is missing"):
        build(settings(model=str(tmp_path)))


@pytest.mark.parametrize(("given", "words"), [({"device": "cuda:99"}, "CSM_DEVICE"), ({"device": "mps"}, "Metal")])
def test_a_device_that_is_not_there_is_refused(given: dict[str, str], words: str, tiny: Callable[..., Path]) -> None:
    with pytest.raises(ModelUnavailable, match=words):
        build(settings(model=str(tiny()), **given))


def test_quantised_weights_are_refused_where_they_cannot_run(tiny: Callable[..., Path]) -> None:
    with pytest.raises(ModelUnavailable, match="CSM_PRECISION=int8"):
        build(settings(model=str(tiny()), engine="transformers", precision="int8", device="cpu"))
