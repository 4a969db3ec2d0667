"""Held-out speech, the judges, and the running server that they judge."""

import json
from pathlib import Path

import pytest

from recipes.demo_model import judges, speech
from recipes.demo_model.export import FACTS, SHIPPED
from tests.quality.criteria import Clip

SPEECH = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """Three sentences by each of four voices that the model has never heard."""
    try:
        judges.load()
    except judges.JudgeMissing as missing:
        pytest.skip(str(missing))
    return [Clip(one.text, one.speaker, speech.load(one)) for one in speech.read_index(SPEECH)]


@pytest.fixture(scope="session")
def trained() -> None:
    """Skip while there is nothing to judge."""
    if not json.loads((SHIPPED / FACTS).read_text())["trained"]:
        pytest.skip(f"the demo's language model is random ({SHIPPED.name}/{FACTS}: trained is false): it answers noise")
