"""The parts of a frame that a device may have a faster implementation of."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from csm.model import sampling
from csm.model.kv_cache import FunctionalKVCache, KVCache


class Operations:
    """The implementations in plain PyTorch."""

    def depth_cache(self, like: Tensor, layers: int, positions: int, kv_heads: int, head_dim: int) -> KVCache:
        """Return an empty cache for one frame of the depth decoder; `like` is `[batch, dim]`."""
        return FunctionalKVCache()

    def attend(
        self, heads: Tensor, kv_heads: int, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache, layer: int
    ) -> Tensor:
        """Rotate queries and keys, add keys and values to the cache, and attend to it.

        Args:
            heads: `[batch, time, heads + 2 * kv_heads, head_dim]`: queries, keys and values.
            kv_heads: number of key heads.
            rope: cosines and sines, which broadcast over the heads.
            mask: see `Transformer.forward`.
            cache: of these rows.
            layer: index.

        Returns:
            `[batch, time, heads * head_dim]`.
        """
        queries = heads.shape[2] - 2 * kv_heads
        both, v = torch.split(heads, [queries + kv_heads, kv_heads], dim=2)
        q, k = torch.split(rotate(both, *rope), [queries, kv_heads], dim=2)
        k, v = cache.extend(layer, k, v)
        return grouped_attention(q, k, v, mask).flatten(2)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """Return `silu(gate) * up` of both side by side in the last dimension."""
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    def draw(self, logits: Tensor, noise: Tensor, rank: Tensor, max_top_k: Any) -> Tensor:
        """See `sampling.draw`."""
        return sampling.draw(logits, noise, rank, max_top_k)


PLAIN = Operations()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding in Llama's layout, where the halves of a head are the pairs. Su et al., 2021.

    The table of sines holds the sign of the left half, which saves a kernel.
    """
    left, right = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([right, left], dim=-1), sin)


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend with queries `[batch, time, heads, head_dim]` to fewer key and value heads, without repeating these.

    Queries that share a key are laid out as further positions. A mask for more than one position therefore has
    `heads / kv_heads * time` rows.
    """
    batch, time, heads, dim = q.shape
    kv_heads = k.shape[2]
    groups = heads // kv_heads
    q = q.view(batch, time, kv_heads, groups, dim).permute(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * time, dim)
    y = F.scaled_dot_product_attention(q, k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
    return y.view(batch, kv_heads, groups, time, dim).permute(0, 3, 1, 2, 4)
