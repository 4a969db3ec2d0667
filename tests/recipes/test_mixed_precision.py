"""The steps in bfloat16, as a GPU takes them, on a CPU."""

import numpy as np
import pytest
import torch

from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.batches import Batches, Draws
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.dialogue import Corpus
from recipes.demo_model.model_trainer import Plan as ModelPlan
from recipes.demo_model.model_trainer import Trainer
from recipes.demo_model.recordings import Recording
from recipes.demo_model.resize import new_codec
from recipes.demo_model.sounds import Sounds
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import Spoken
from recipes.demo_model.training import bfloat16_pays
from tests import tiny_checkpoints

CPU = torch.device("cpu")
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)


def test_codec_steps() -> None:
    plan = Plan(batch=2, frames=4, steps=4, adversarial_from=1, bfloat16=True)
    trainer = CodecTrainer(new_codec(0, SIZE), plan, CPU)
    sounds = Sounds((Recording(np.sin(np.arange(9600, dtype=np.float32) * pitch)) for pitch in (0.04, 0.06)), CPU)
    losses = [trainer.step(step, sounds) for step in range(3)]
    assert all(value.isfinite() for loss in losses for value in loss.values())
    assert {parameter.dtype for parameter in trainer.codec.parameters()} == {torch.float32}


def test_model_steps() -> None:
    trainer = Trainer(tiny_checkpoints.make(), ModelPlan(batch=2, steps=3, bfloat16=True), CPU)
    spoken = [
        Spoken(
            f"Text {line}.",
            "one",
            np.full((6, 4), line + 1, np.int16),
            np.full((6, 4), 9, np.int16),
            np.arange(6, dtype=np.int16),
        )
        for line in range(3)
    ]
    batches = Batches(Draws(Corpus(spoken, make_tokenizer()), count=2, steps=3, seed=0))
    losses = [trainer.step(step, batches) for step in range(3)]
    assert all(value.isfinite() for loss in losses for value in loss.values())
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("there", [True, False])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": there})
    assert bfloat16_pays(CPU) is there
    assert bfloat16_pays(torch.device("cuda"))
