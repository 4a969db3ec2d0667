from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from csm.engine.devices import Placement
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import Checkpoint, open_checkpoint
from tests import checkpoints
from tests.engine.parts import Engines

CPU = Placement(torch.device("cpu"), "float32")

MICRO = replace(
    checkpoints.SIZES["small"],
    codec=replace(checkpoints.SIZES["small"].codec, codebooks=2),
    backbone=replace(checkpoints.SIZES["small"].backbone, layers=1),
    depth=replace(checkpoints.SIZES["small"].depth, layers=1),
    positions=128,
)
"""The smallest that has everything: scheduling does not depend on size, and hundreds of schedules take their time."""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(checkpoints.save(tmp_path_factory.mktemp("micro"), MICRO))


@pytest.fixture(scope="session")
def runtime(micro: Checkpoint) -> TorchRuntime:
    """Four rows; any may be dirty."""
    return TorchRuntime(micro, CPU, 4)


@pytest.fixture
def engines(runtime: TorchRuntime, micro: Checkpoint) -> Iterator[Engines]:
    """Makes engines on one runtime, and closes them; use one at a time."""
    made = Engines(runtime, micro.tokenizer)
    yield made
    made.close()


@pytest.fixture(scope="session")
def small(tiny: Callable[..., Path]) -> Checkpoint:
    return open_checkpoint(tiny())
