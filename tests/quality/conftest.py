"""Held-out speech; its tests are skipped where the judges are not installed."""

from pathlib import Path

import pytest

from recipes.demo_model import judges, speech
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
