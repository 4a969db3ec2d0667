"""The share of likeliest codes, in eager PyTorch and in graphs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from csm.engine.devices import Placement
from csm.engine.openvino.bundle import folder_of, open_bundle
from csm.engine.openvino.prepare import prepare
from csm.engine.openvino.runtime import OpenVinoRuntime
from csm.engine.runtimes.base import Runtime
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import Checkpoint, open_checkpoint
from csm.settings import load
from csm.verify.agreement import agreement
from tests.model import prompts

IDS = list(range(5, 40))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tiny: Callable[..., Path]) -> Checkpoint:
    return open_checkpoint(tiny())


@pytest.fixture(scope="module")
def eager(checkpoint: Checkpoint) -> TorchRuntime:
    return TorchRuntime(checkpoint, Placement(CPU, "float32"), 1)


@pytest.fixture(scope="module")
def graphs(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> OpenVinoRuntime:
    settings = load(None, cache_dir=tmp_path_factory.mktemp("cache"), model="any")
    prepare(checkpoint, "float32", folder_of(settings, checkpoint, "float32"))
    return OpenVinoRuntime(open_bundle(settings, checkpoint, "float32"), 1)


@pytest.fixture(scope="module")
def said(checkpoint: Checkpoint) -> list[list[int]]:
    """What `transformers` says greedily."""
    model = checkpoint.load(torch.float32, CPU)
    return prompts.greedy(model, 6, input_ids=torch.tensor([IDS])).tolist()


@pytest.fixture(params=["eager", "graphs"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return request.getfixturevalue(request.param)


def test_greedy_codes_are_the_likeliest_in_every_position(runtime: Runtime, said: list[list[int]]) -> None:
    assert agreement(runtime, IDS, said) == 1.0


@torch.inference_mode()
def test_each_position_is_judged_given_the_codes_before_it(runtime: Runtime, checkpoint: Checkpoint) -> None:
    """Frames in which, by `transformers`, every other code is the likeliest after those before it, and no other is."""
    model, frames = checkpoint.load(torch.float32, CPU), torch.zeros(0, 4, dtype=torch.long)
    for _ in range(6):
        heard = model.backbone_model.embed_tokens(frames[None])[0]
        inputs = torch.cat([model.embed_text_tokens(torch.tensor(IDS)), heard])
        state = model.backbone_model(inputs_embeds=inputs[None]).last_hidden_state[:, -1]
        codes = [int(model.lm_head(state)[0, :64].argmax())]
        while len(codes) < 4:
            before = torch.tensor([[0, *codes]])
            logits = model.depth_decoder(input_ids=before, backbone_last_hidden_state=state).logits
            codes.append((int(logits[0, -1, :64].argmax()) + 7 * (len(codes) % 2)) % 64)
        frames = torch.cat([frames, torch.tensor([codes])])
    assert agreement(runtime, IDS, frames.tolist()) == 0.5


def test_a_damaged_model_agrees_by_chance(checkpoint: Checkpoint, said: list[list[int]]) -> None:
    broken = TorchRuntime(checkpoint, Placement(CPU, "float32"), 1)
    with torch.no_grad():
        for block in broken.backbone.transformer.blocks:
            block.attention.out.weight.zero_()  # type: ignore[operator]
    assert agreement(broken, IDS, said) < 0.5
