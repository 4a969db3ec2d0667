"""The steps as a GPU takes them, in bfloat16 autocast, on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from recipes.demo_model import codec, train
from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.dialogue import Corpus
from recipes.demo_model.recordings import Recording
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import Spoken
from tests import checkpoints

CPU = torch.device("cpu")
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    def autocast(*_: object) -> Any:
        return torch.autocast("cpu", torch.bfloat16)

    monkeypatch.setattr(codec, "mixed_precision", autocast)
    monkeypatch.setattr(train, "mixed_precision", autocast)


def test_codec_steps() -> None:
    plan = codec.Plan(batch=2, frames=4, steps=4, adversarial_from=1)
    trainer = codec.CodecTrainer(codec.new_codec(0, SIZE), plan, CPU)
    clips = [Recording(np.sin(np.arange(9600, dtype=np.float32) * pitch)) for pitch in (0.04, 0.06)]
    losses = [trainer.step(step, clips) for step in range(3)]
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    assert {parameter.dtype for parameter in trainer.codec.parameters()} == {torch.float32}


def test_model_steps() -> None:
    trainer = train.Trainer(checkpoints.make(), train.Plan(batch=2, steps=3), CPU)
    spoken = [
        Spoken(f"Text {line}.", "one", np.full((6, 4), line + 1, np.int16), np.arange(6, dtype=np.int16))
        for line in range(3)
    ]
    losses = [trainer.step(step, Corpus(spoken, make_tokenizer())) for step in range(3)]
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
