from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import Checkpoint, open_checkpoint
from tests import tiny_checkpoints
from tests.engine.engine_harness import CPU, EngineFactory
from tests.torch_threads import one_thread  # noqa: F401

MICRO = replace(
    tiny_checkpoints.SIZES["small"],
    codec=replace(tiny_checkpoints.SIZES["small"].codec, codebooks=2),
    backbone=replace(tiny_checkpoints.SIZES["small"].backbone, layers=1),
    depth=replace(tiny_checkpoints.SIZES["small"].depth, layers=1),
    positions=128,
)
"""The smallest model with every part: scheduling does not depend on size, and some tests run hundreds of schedules."""


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a checkpoint of `MICRO`."""
    return open_checkpoint(tiny_checkpoints.save(tmp_path_factory.mktemp("micro"), MICRO))


@pytest.fixture(scope="session")
def runtime(micro: Checkpoint) -> TorchRuntime:
    """Return a runtime of four rows, which earlier tests may have written to."""
    return TorchRuntime(micro, CPU, 4)


@pytest.fixture
def engines(runtime: TorchRuntime, micro: Checkpoint) -> Iterator[EngineFactory]:
    """Make engines on one runtime and close them; use one at a time."""
    made = EngineFactory(runtime, micro.tokenizer)
    yield made
    made.close()


@pytest.fixture(scope="session")
def small(tiny: Callable[..., Path]) -> Checkpoint:
    """Return the checkpoint `small`."""
    return open_checkpoint(tiny())
