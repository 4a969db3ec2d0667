"""KV caches: preallocated for the rows of a batch, and functional for the depth decoder and for graph compilers."""

from typing import Protocol

import torch
from torch import Tensor

Prefix = Tensor
"""Keys and values of a prompt's first positions: `[layers, 2, positions, kv_heads, head_dim]`."""


class KVCache(Protocol):
    """Keys and values of earlier positions."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions of one layer and return all positions that queries may attend to.

        Args:
            layer: index.
            keys: `[batch, time, kv_heads, head_dim]`, rotated.
            values: likewise.

        Returns:
            Keys and values `[batch, positions, kv_heads, head_dim]`, laid out as the mask says.
        """


class BatchKVCache:
    """Preallocated keys and values for the rows of a batch, whose lengths may differ.

    Args:
        layers: of the transformer.
        rows: of the batch.
        positions: that each row can hold.
        kv_heads: per layer.
        head_dim: per head.
        like: a tensor whose dtype and device are taken.
    """

    def __init__(self, layers: int, rows: int, positions: int, kv_heads: int, head_dim: int, like: Tensor) -> None:
        self.store = like.new_zeros(layers, 2, rows, positions, kv_heads, head_dim)

    def view(self, rows: int, positions: Tensor, length: int) -> "BatchKVView":
        """Return a view of the first `rows` rows, written at `positions` `[rows, time]` and read up to `length`."""
        return BatchKVView(self.store, rows, positions, length)

    def load(self, row: int, prefix: Prefix) -> None:
        """Copy a prefix to the beginning of a row."""
        self.store[:, :, row, : prefix.shape[2]] = prefix

    def save(self, row: int, length: int) -> Prefix:
        """Return a copy of the first `length` positions of a row."""
        return self.store[:, :, row, :length].clone()

    def clear(self, row: int) -> None:
        """Zero a row. A mask does not hide a NaN in it: its weight of 0 times NaN is NaN."""
        self.store[:, :, row] = 0

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row over another."""
        self.store[:, :, target, :length] = self.store[:, :, source, :length]


class BatchKVView:
    """What one step sees of a `BatchKVCache`; written in place, at addresses that a CUDA graph may capture."""

    def __init__(self, store: Tensor, rows: int, positions: Tensor, length: int) -> None:
        self._store, self._rows, self._positions, self._length = store, rows, positions, length
        self._index = torch.arange(rows, device=store.device)[:, None]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache.extend`."""
        k, v = self._store[layer, 0, : self._rows], self._store[layer, 1, : self._rows]
        k.index_put_((self._index, self._positions), keys)
        v.index_put_((self._index, self._positions), values)
        return k[:, : self._length], v[:, : self._length]


class FunctionalKVCache:
    """Keys and values that grow by concatenation, without writes in place, which graph compilers cannot follow.

    Args:
        past: keys and values of each layer; None if there are none yet.

    Attributes:
        new: keys and values of the positions added, in turn for each layer.
    """

    def __init__(self, past: list[tuple[Tensor, Tensor]] | None = None) -> None:
        self._past = dict(enumerate(past or []))
        self.new: list[Tensor] = []

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache.extend`."""
        self.new += [keys, values]
        if layer in self._past:
            k, v = self._past[layer]
            keys, values = torch.cat([k, keys], dim=1), torch.cat([v, values], dim=1)
        self._past[layer] = keys, values
        return keys, values
