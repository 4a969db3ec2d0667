"""What a GPU runs for CSM-1B, proven without one: everything is on the device, nothing waits, and launches are few."""

from collections.abc import Callable

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from benchmarks.full_size import full_size_config
from csm.engine.runtimes.torch import TorchRuntime
from tests.engine.runtimes import fake_cuda
from tests.engine.runtimes.fake_cuda import CUDA, Launches

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="a CPU build of torch has no CUDA kernels")

MAX_LAUNCHES = Launches(frame=2432, frames=2432, prefill=268, encode=659, decode=299)
"""Lower a number when an edit saves kernels; a higher one means that every frame takes longer on every GPU."""


@pytest.mark.parametrize(
    ("dtype", "device"),
    [
        ("bfloat16", CUDA),
        pytest.param("float16", CUDA, marks=pytest.mark.slow),
        pytest.param("bfloat16", torch.device("cuda:1"), marks=pytest.mark.slow),
    ],
)
def test_every_part_stays_on_the_device_and_launches_no_more_than_before(dtype: str, device: torch.device) -> None:
    seen = fake_cuda.count(full_size_config(), dtype, device)
    for part, maximum in vars(MAX_LAUNCHES).items():
        assert getattr(seen, part) <= maximum, f"{part} in {dtype}"


def leaves_the_device(runtime: TorchRuntime) -> object:
    return runtime.state.position.cpu()


def waits_for_a_value(runtime: TorchRuntime) -> object:
    return int(runtime.state.top_k[0])


def writes_elsewhere(runtime: TorchRuntime) -> object:
    return runtime.embeddings.audio.zero_()


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (leaves_the_device, AssertionError, "a tensor on cpu"),
        (waits_for_a_value, DataDependentOutputException, "_local_scalar_dense"),
        (writes_elsewhere, AssertionError, "not the runtime's own"),
    ],
)
def test_the_test_above_can_fail(damage: Callable[[TorchRuntime], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fake_cuda.count(full_size_config(), "bfloat16", damage=damage)
