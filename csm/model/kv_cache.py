"""Keys and values of the backbone: rows of a batch, prefixes of a voice, and the depth decoder's few positions."""

import torch
from torch import Tensor

Prefix = Tensor
"""Keys and values of one conversation's first positions: `[layers, 2, positions, kv_heads, head_dim]`."""


class BatchKVCache:
    """Preallocated keys and values for the rows of a batch, which may be of different length.

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

    def at(self, rows: int, positions: Tensor, length: int) -> "BatchKVView":
        """The first `rows` rows, to be written at `positions` `[rows, time]` and read up to `length`."""
        return BatchKVView(self.store, rows, positions, length)

    def load(self, row: int, prefix: Prefix) -> None:
        """Put a prefix at the beginning of a row."""
        self.store[:, :, row, : prefix.shape[2]] = prefix

    def save(self, row: int, length: int) -> Prefix:
        """A copy of the first `length` positions of a row."""
        return self.store[:, :, row, :length].clone()

    def clear(self, row: int) -> None:
        """Forget a row that went wrong: a mask hides what is not a number no better than 0 times it is 0."""
        self.store[:, :, row] = 0

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row over another."""
        self.store[:, :, target, :length] = self.store[:, :, source, :length]


class BatchKVView:
    """What one step sees of a `BatchKVCache`; writes in place, at addresses that do not change from step to step."""

    def __init__(self, store: Tensor, rows: int, positions: Tensor, length: int) -> None:
        self._store, self._rows, self._positions, self._length = store, rows, positions, length
        self._index = torch.arange(rows, device=store.device)[:, None]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Memory.extend`."""
        k, v = self._store[layer, 0, : self._rows], self._store[layer, 1, : self._rows]
        k.index_put_((self._index, self._positions), keys)
        v.index_put_((self._index, self._positions), values)
        return k[:, : self._length], v[:, : self._length]


class FunctionalKVCache:
    """Keys and values by concatenation: pure, so that a graph compiler can follow it.

    Args:
        past: keys and values per layer, or empty where nothing came before.
    """

    def __init__(self, past: list[tuple[Tensor, Tensor]] | None = None) -> None:
        self._past = dict(enumerate(past or []))
        self.new: list[Tensor] = []

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Memory.extend`."""
        self.new += [keys, values]
        if layer in self._past:
            k, v = self._past[layer]
            keys, values = torch.cat([k, keys], dim=1), torch.cat([v, values], dim=1)
        self._past[layer] = keys, values
        return keys, values
