"""`Operations` as Triton kernels, each of which replaces several of PyTorch's.

Inside a CUDA graph, a small kernel takes three to four microseconds, however little it does, and a frame of CSM-1B has
about 1,000 fewer with these. Reductions are in float32; tensors have the type of the weights, as in PyTorch.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from csm.model.kv_cache import KVCache
from csm.model.operations import Operations


class FusedOperations(Operations):
    """One kernel each for attention in the depth decoder, for SwiGLU, and for a draw."""

    def depth_cache(self, like: Tensor, layers: int, positions: int, kv_heads: int, head_dim: int) -> KVCache:
        """See `Operations.depth_cache`."""
        return DepthKVCache(like.new_empty(layers, 2, len(like), positions, kv_heads, head_dim))

    def attend(
        self, heads: Tensor, kv_heads: int, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache, layer: int
    ) -> Tensor:
        """See `Operations.attend`; fused for single positions of the depth decoder."""
        batch, time, count, dim = heads.shape
        if not isinstance(cache, DepthKVCache) or time > 1:
            return super().attend(heads, kv_heads, rope, mask, cache, layer)
        queries = count - 2 * kv_heads
        out = heads.new_empty(batch, 1, queries * dim)
        keys, values = cache.store[layer]
        _attend[(batch, queries)](
            heads,
            *rope,
            keys,
            values,
            out,
            cache.past[layer],
            keys.stride(0),
            dim**-0.5,
            QUERIES=queries,
            KV_HEADS=kv_heads,
            DIM=dim,
            POSITIONS=triton.next_power_of_2(keys.shape[1]),
            num_warps=4,
        )
        cache.past[layer] += 1
        return out

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """See `Operations.swiglu`."""
        width = gate_up.shape[-1] // 2
        out = gate_up.new_empty(*gate_up.shape[:-1], width)
        _swiglu[(out.numel() // width, triton.cdiv(width, 1024))](gate_up, out, width, BLOCK=1024, num_warps=4)
        return out

    def draw(self, logits: Tensor, noise: Tensor, rank: Tensor, max_top_k: Any) -> Tensor:
        """See `Operations.draw`."""
        rows, codes = logits.shape
        out = torch.empty(rows, dtype=torch.long, device=logits.device)
        block = triton.next_power_of_2(codes)
        _draw[(rows,)](logits, noise, rank, out, logits.stride(0), noise.stride(0), codes, BLOCK=block, num_warps=8)
        return out


class DepthKVCache:
    """Preallocated keys and values of one frame.

    Attributes:
        store: `[layers, 2, batch, positions, kv_heads, head_dim]`.
        past: positions so far, of each layer.
    """

    def __init__(self, store: Tensor) -> None:
        self.store, self.past = store, [0] * len(store)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache.extend`."""
        start, end = self.past[layer], self.past[layer] + keys.shape[1]
        k, v = self.store[layer]
        k[:, start:end], v[:, start:end] = keys, values
        self.past[layer] = end
        return k[:, :end], v[:, :end]


@triton.jit
def _attend(
    heads,
    cos,
    sin,
    keys,
    values,
    out,
    past,
    row_stride,
    scale,
    QUERIES: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    POSITIONS: tl.constexpr,
):
    """Compute one query head of one row: rotate, attend to `past` positions and to itself.

    The first query head of each group also writes its key and value, which no other program reads.
    """
    row, query = tl.program_id(0), tl.program_id(1)
    kv = query // (QUERIES // KV_HEADS)
    d = tl.arange(0, DIM)
    swapped = (d + DIM // 2) % DIM
    base = heads + row * (QUERIES + 2 * KV_HEADS) * DIM
    c, s = tl.load(cos + d).to(tl.float32), tl.load(sin + d).to(tl.float32)
    at = base + query * DIM
    q = tl.load(at + d).to(tl.float32) * c + tl.load(at + swapped).to(tl.float32) * s
    at = base + (QUERIES + kv) * DIM
    k = tl.load(at + d).to(tl.float32) * c + tl.load(at + swapped).to(tl.float32) * s
    v = tl.load(base + (QUERIES + KV_HEADS + kv) * DIM + d)
    kind = v.dtype
    q, k = q.to(kind), k.to(kind)
    mine = row * row_stride + kv * DIM + d
    if query % (QUERIES // KV_HEADS) == 0:
        tl.store(keys + mine + past * KV_HEADS * DIM, k)
        tl.store(values + mine + past * KV_HEADS * DIM, v)
    n = tl.arange(0, POSITIONS)
    before = (n < past)[:, None]
    others = row * row_stride + kv * DIM + n[:, None] * KV_HEADS * DIM + d[None, :]
    q = q.to(tl.float32) * scale
    scores = tl.sum(tl.load(keys + others, before, 0.0).to(tl.float32) * q[None, :], 1)
    scores = tl.where(n < past, scores, -float("inf"))
    own = tl.sum(k.to(tl.float32) * q, 0)
    top = tl.maximum(tl.max(scores, 0), own)
    weights, own = tl.exp(scores - top), tl.exp(own - top)
    heard = tl.load(values + others, before, 0.0).to(tl.float32)
    said = tl.sum(heard * weights[:, None], 0) + v.to(tl.float32) * own
    tl.store(out + (row * QUERIES + query) * DIM + d, (said / (tl.sum(weights, 0) + own)).to(kind))


@triton.jit
def _swiglu(gate_up, out, width, BLOCK: tl.constexpr):
    """Compute a block of one row."""
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    gate = tl.load(gate_up + row * 2 * width + i, inside, 0.0)
    up = tl.load(gate_up + row * 2 * width + width + i, inside, 0.0)
    wide = gate.to(tl.float32)
    # Rounded in between, as by two kernels.
    silu = (wide / (1 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + row * width + i, (silu * up.to(tl.float32)).to(gate.dtype), inside)


@triton.jit
def _draw(logits, noise, rank, out, logits_stride, noise_stride, codes, BLOCK: tl.constexpr):
    """Draw for one row; the least logit of the top k is found bit by bit."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    inside = i < codes
    x = tl.load(logits + row * logits_stride + i, inside, -float("inf")).to(tl.float32)
    bits = x.to(tl.int32, bitcast=True)
    # Unsigned integers in the order of the floats: the sign bit is flipped, and the others too if it was set.
    order = tl.where(bits < 0, ~bits, bits ^ -2147483648).to(tl.uint32, bitcast=True)
    top_k = tl.load(rank + row) + 1
    least = tl.zeros((), tl.uint32)
    for step in tl.static_range(32):
        higher = least | (1 << (31 - step))
        enough = tl.sum((inside & (order >= higher)).to(tl.int32), 0) >= top_k
        least = tl.where(enough, higher, least).to(tl.uint32)
    drawn = tl.where(inside & (order >= least), x + tl.load(noise + row * noise_stride + i, inside, 0.0), -float("inf"))
    tl.store(out + row, tl.argmax(drawn, 0).to(tl.int64))
