from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import CsmForConditionalGeneration

from csm.engine.devices import Placement
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import open_checkpoint
from tests.torch_threads import one_thread  # noqa: F401

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def reference(tiny: Callable[..., Path]) -> Callable[..., CsmForConditionalGeneration]:
    """The models as `transformers` loads them, by the name of their size."""
    return cache(lambda name="small": open_checkpoint(tiny(name)).load(torch.float32, CPU))


@pytest.fixture(scope="session")
def runtime(tiny: Callable[..., Path]) -> Callable[..., TorchRuntime]:
    """Runtimes of our own with four rows, by the name of their size; any row may be dirty."""
    return cache(lambda name="small": TorchRuntime(open_checkpoint(tiny(name)), Placement(CPU, "float32"), 4))
