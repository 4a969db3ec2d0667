"""The CUDA path at CSM-1B's size on tensors that only claim to be on a GPU: no device, no memory, no arithmetic.

`FakeTensorMode` propagates shapes, dtypes and devices. That is enough to catch what breaks a CUDA graph: a tensor on
the CPU (its value would be baked in), a value that the host waits for, a write to memory that is not the runtime's own.
It is also enough to count launches, which is what a frame costs where the weights are read fast enough.
"""

import inspect
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CsmConfig, CsmForConditionalGeneration, MimiModel

from csm.engine.devices import Placement
from csm.engine.runtimes.torch import TorchRuntime

CUDA = torch.device("cuda:0")

NO_KERNEL = ("prim.device", "aten.empty", "aten.new_empty", "aten.detach", "aten.alias", "aten._unsafe_view")
"""Operators that launch nothing although they return no view, by the beginning of their names."""

KERNELS = {"aten.topk.default": 2}
"""Operators that launch more than one kernel: a selection and a sort."""


@dataclass
class Watch(TorchDispatchMode):
    """Count launches; fail on tensors that are not on the GPU and on writes to foreign memory.

    Attributes:
        device: that everything must be on.
        own: storages that may be written to, besides those made while watching.
        launches: by operator.
    """

    device: torch.device
    own: set[int]
    launches: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, operator: Any, kinds: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result, name, returns = operator(*args, **(kwargs or {})), str(operator), operator._schema.returns
        for tensor in _tensors((args, kwargs, result)):
            assert tensor.device == self.device, f"{name} touches a tensor on {tensor.device}"
        for value, argument in zip(args, operator._schema.arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                assert _storage(value) in self.own, f"{name} writes to memory that is not the runtime's own"
        if not any(r.alias_info is not None and not r.alias_info.is_write for r in returns):
            self.own |= {_storage(tensor) for tensor in _tensors(result)}
            if not name.startswith(NO_KERNEL):
                self.launches[name] += KERNELS.get(name, 1)
        return result


@dataclass(frozen=True)
class Launches:
    """Kernels launched by each part of the CUDA path.

    Attributes:
        frame: one stream, 512 positions, top-k 64.
        frames: 64 streams, all positions, all codes.
        prefill: a piece of 64 positions behind 100.
        encode: 10 s of reference audio.
        decode: 4 frames of two streams.
    """

    frame: int
    frames: int
    prefill: int
    encode: int
    decode: int


def count(
    config: CsmConfig,
    dtype: str,
    device: torch.device = CUDA,
    damage: Callable[[TorchRuntime], object] = lambda runtime: None,
) -> Launches:
    """Run every part once on fake tensors.

    Args:
        config: of the model; its weights have no values.
        dtype: `bfloat16`, `float16` or `float32`.
        device: to claim.
        damage: runs as the first part of the frame.
    """
    with fake_device(), torch.no_grad():
        runtime = TorchRuntime(_checkpoint(config), Placement(device, dtype), 64)
        own = [runtime.kv_cache.store, runtime.prefill_cache.store, *vars(runtime.state).values()]

        def watched(*work: Callable[[], object]) -> int:
            with Watch(device, {_storage(tensor) for tensor in own}) as watch:
                for part in work:
                    part()
            return sum(watch.launches.values())

        x = torch.empty(64, config.hidden_size, dtype=runtime.embeddings.audio.dtype, device=device)
        state = runtime.decoder.initial_state(2)
        codes = torch.zeros(2, config.num_codebooks, 4, dtype=torch.long, device=device)
        sound = torch.zeros(10 * config.codec_config.sampling_rate, device=device)
        # Without the inference mode around them, which fake tensors do not know.
        frame, prefill = inspect.unwrap(TorchRuntime.frame), inspect.unwrap(TorchRuntime.prefill)
        return Launches(
            frame=watched(lambda: damage(runtime), lambda: frame(runtime, 1, 512, 64)),
            frames=watched(lambda: frame(runtime, 64, runtime.positions, runtime.depth.codebook_size)),
            prefill=watched(lambda: prefill(runtime, x, 100)),
            encode=watched(lambda: runtime.encoder(sound)),
            decode=watched(lambda: runtime.decoder(codes, state)),
        )


@contextmanager
def fake_device() -> Iterator[None]:
    """Make tensors fake, let modules replace parameters that they convert, and let attention choose as on a device."""
    attention = mock.patch.object(F, "scaled_dot_product_attention", _attention)
    conversion = mock.patch.object(nn.Module, "_apply", _convert)
    with attention, conversion, FakeTensorMode():
        yield


def _convert(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Do what `Module._apply` does, which cannot swap the contents of fake parameters."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(change(parameter.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = change(buffer)
    return module


def _checkpoint(config: CsmConfig) -> Any:
    """Return what `TorchRuntime` needs of a `Checkpoint`."""

    def load(dtype: torch.dtype, device: torch.device) -> CsmForConditionalGeneration:
        before = torch.get_default_dtype()
        with device:
            torch.set_default_dtype(dtype)
            try:
                model = CsmForConditionalGeneration(config)
            finally:
                torch.set_default_dtype(before)
            model.codec_model = MimiModel(config.codec_config)
        return model.eval().requires_grad_(False)

    return types.SimpleNamespace(load=load, config=config)


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Attention as CUDA dispatches it with cuDNN off: flash without a mask in half precision, else memory-efficient.

    Without a device it would be decomposed into a dozen operators that no GPU runs.
    """
    if attn_mask is None and q.dtype != torch.float32:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            zero = torch.zeros((), dtype=q.dtype, device=q.device)
            attn_mask = zero.where(attn_mask, -torch.inf)
        attn_mask = attn_mask.expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, False)[0]


def _tensors(values: Any) -> Iterable[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
