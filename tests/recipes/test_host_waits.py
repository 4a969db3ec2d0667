"""A training step never makes the host wait for a GPU, shown without one: on fake tensors that claim to be CUDA's.

Fake tensors have shapes and devices but no numbers. Whatever would fetch a number from the device fails on them; what
would copy between the devices is caught here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CsmForConditionalGeneration, MimiModel

from recipes.demo_model import codec_trainer
from recipes.demo_model.architecture import CodecSize, ModelSize, codec_config, csm_config
from recipes.demo_model.batches import Draws
from recipes.demo_model.dialogue import Batch, Corpus
from recipes.demo_model.model_trainer import Plan as ModelPlan
from recipes.demo_model.model_trainer import Trainer
from recipes.demo_model.recordings import Recording
from recipes.demo_model.sounds import Sounds
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import Spoken

CUDA = torch.device("cuda", 0)
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)


class HostWaits(AssertionError):
    """Something waits for the device."""


class NoCopies(TorchDispatchMode):
    """Refuses operations that move tensors between devices, or whose result has a size that only the device knows."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        if name.startswith(("aten.nonzero", "aten._local_scalar_dense", "aten.masked_select", "aten.is_nonzero")):
            raise HostWaits(name)
        made = func(*args, **kwargs)
        if name.startswith(("aten._to_copy", "aten.copy")):
            devices = {one.device.type for one in (*args, made) if isinstance(one, torch.Tensor) and one.dim()}
            if len(devices) > 1:
                raise HostWaits(f"{name} between {devices}")
        return made


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A world of fake tensors, made on a GPU unless told otherwise."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_, **__: True)
    # What is made on the GPU stays there; and modules of fake tensors refuse to be moved.
    monkeypatch.setattr("torch.nn.Module.to", lambda module, *_: module)
    # Copying a fake tensor looks for its data, and this function at its result.
    monkeypatch.setattr("recipes.demo_model.average.deepcopy", lambda module: module)
    monkeypatch.setattr(
        "torchaudio.functional.melscale_fbanks", lambda bins, low, high, bands, *_, **__: torch.zeros(bins, bands)
    )
    with FakeTensorMode(allow_non_fake_inputs=True), CUDA:
        yield


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize("options", [{}, {"adversarial_from": 0}, {"adversarial_from": 0, "encoder_steps": 0}])
def test_the_codecs_step(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = codec_trainer.Plan(batch=2, frames=4, steps=10, bfloat16=True, **options)
    clips = [Recording(np.zeros(9600, np.float32), np.ones(16, np.int64)) for _ in range(2)]
    trainer, sounds = codec_trainer.CodecTrainer(MimiModel(codec_config(SIZE)), plan, CUDA), Sounds(clips, CUDA)
    learning = [trainer.codec, trainer.judge, trainer.listener, trainer.recogniser]
    made = _step(lambda: trainer.step(5, sounds), learning, monkeypatch)
    assert {value.device.type for value in made.values()} == {"cuda"}


@pytest.mark.usefixtures("fake_gpu")
def test_the_models_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CsmForConditionalGeneration(csm_config(ModelSize(codec=SIZE)))
    trainer = Trainer(model, ModelPlan(batch=2, steps=10, bfloat16=True), CUDA)
    spoken = [
        Spoken(
            f"Text {line}.",
            "one",
            np.full((6, 3), line + 1, np.int16),
            np.full((6, 3), 9, np.int16),
            np.arange(6, dtype=np.int16),
        )
        for line in range(3)
    ]
    batch = Draws(Corpus(spoken, make_tokenizer()), count=2, steps=10, seed=0)[5]
    there = Batch(*(torch.empty_like(part, device=CUDA) for part in (batch.rows, batch.frames, batch.places)))
    made = _step(lambda: trainer.step(5, Drawn(there)), [trainer.model], monkeypatch)  # type: ignore[arg-type]
    assert {value.device.type for value in made.values()} == {"cuda"}


@pytest.mark.usefixtures("fake_gpu")
def test_what_waits_is_noticed() -> None:
    value, rows = torch.ones(3, device=CUDA), torch.ones(3, device="cpu")
    for wait in (value.sum().item, value.nonzero, value.cpu, lambda: rows.to(CUDA), lambda: value[value > 0]):
        with pytest.raises((HostWaits, RuntimeError)), NoCopies():
            wait()


class Drawn:
    """Batches that are on the device already, as pinned memory makes them without waiting."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def at(self, step: int) -> Batch:
        return self._batch


def _step(
    do: Callable[[], dict[str, Tensor]], learning: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """Do one step but for the backward pass, whose engine wants a real GPU; autograd has no waits of its own."""

    def backward(_: Tensor) -> None:
        for parameter in (parameter for module in learning for parameter in module.parameters()):
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    with NoCopies():
        return do()
