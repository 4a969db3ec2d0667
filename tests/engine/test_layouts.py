"""A model says the same however its files are laid out: both engines, and what int8 is prepared from."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from csm.audio.waveform import Waveform
from csm.engine.api import Sampling
from csm.engine.openvino.prepare import DONE, EMBEDDINGS, ENCODER, prepare
from csm.model.checkpoint import open_checkpoint
from csm.model.conversation import Conversation, Turn
from csm.settings import load
from csm.speech.build import make_engine

PAIRS = [("sesame", "today"), ("unsloth", "today-bfloat16")]
"""A published layout, and the same weights in ours."""

SOUND = 0.1 * np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
SAID = Conversation((Turn("0", "What was heard.", Waveform(SOUND, 24_000)), Turn("0", "I'm saying it. Hé 123!")))


def spoken(folder: Path, engine: str) -> list[list[int]]:
    """The first frames that an engine says greedily."""
    settings = load(None, model=str(folder), engine=engine, precision="float32", device="cpu", slots=1)
    with closing(make_engine(settings, folder)) as made:
        chunks = list(made.generate(SAID, Sampling(0, temperature=0.0), 12, lambda: False))
    return [frame.tolist() for chunk in chunks for frame in chunk.codes]


@pytest.mark.parametrize(("published", "ours"), PAIRS)
def test_both_engines_say_the_same_in_both_layouts(published: str, ours: str, layout: Callable[[str], Path]) -> None:
    said = [spoken(layout(name), engine) for name in (published, ours) for engine in ("csm", "transformers")]
    assert len(said[0]) == 12 and len({tuple(frame) for frame in said[0]}) > 3
    assert said[1] == said[2] == said[3] == said[0]


@pytest.mark.slow
@pytest.mark.parametrize(("published", "ours"), PAIRS)
def test_int8_is_prepared_to_the_same_bytes_from_both_layouts(
    published: str, ours: str, layout: Callable[[str], Path], tmp_path: Path
) -> None:
    made = []
    for name in (published, ours):
        prepare(open_checkpoint(layout(name)), "int8", tmp_path / name)
        # Graphs number their nodes through all that a process ever made; their constants lie in the other files.
        files = [path for path in (tmp_path / name).iterdir() if path.suffix != ".xml"]
        made.append({path.name: path.read_bytes() for path in files})
    weights = {"backbone.bin", "depth.bin", "sound.bin", ENCODER, EMBEDDINGS}
    assert made[0].keys() == made[1].keys() == weights | {DONE}
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
