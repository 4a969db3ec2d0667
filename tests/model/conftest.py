from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import CsmForConditionalGeneration

from csm.engine.devices import Placement
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import open_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from a second thread, and wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def reference(tiny: Callable[..., Path]) -> Callable[..., CsmForConditionalGeneration]:
    """The models as `transformers` loads them, by the name of their size."""
    return cache(lambda name="small": open_checkpoint(tiny(name)).load(torch.float32, CPU))


@pytest.fixture(scope="session")
def runtime(tiny: Callable[..., Path]) -> Callable[..., TorchRuntime]:
    """Runtimes of our own with four rows, by the name of their size; any row may be dirty."""
    return cache(lambda name="small": TorchRuntime(open_checkpoint(tiny(name)), Placement(CPU, "float32"), 4))
