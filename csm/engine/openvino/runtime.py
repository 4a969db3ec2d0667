"""The runtime for CPUs: quantised OpenVINO graphs, one call for the backbone and one for the depth decoder.

Decoding on a CPU is bound by the bytes of weights that a frame reads: int8 reads a quarter of float32's, int4 an
eighth. docs/performance.md compares the runtimes that were considered.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from csm import memory_tuning
from csm.engine.api import Sampling
from csm.engine.openvino.bundle import Bundle
from csm.engine.runtimes.base import BAD_CODE, DEFAULT_ROWS, RowState
from csm.model.kv_cache import Prefix
from csm.model.mimi.transformer import State
from csm.model.sampling import gumbel_noise

STRIDE = 128
"""Positions by which the KV cache grows: a graph reads all of it, so it is kept about as short as the longest row."""

RELEASE_EVERY = 4
"""Steps after which mapped pages are released; otherwise the rows read from tables would add up to 500 MB."""


class OpenVinoKVCache:
    """Keys and values in arrays that a graph can read in place.

    Args:
        layers: of the transformer.
        rows: size of the batch.
        kv_heads: per layer.
        head_dim: per head.
    """

    def __init__(self, layers: int, rows: int, kv_heads: int, head_dim: int) -> None:
        self._shape = (layers, 2, rows, 0, kv_heads, head_dim)
        self.store = torch.zeros(self._shape)

    @property
    def capacity(self) -> int:
        """Positions that each row can hold now."""
        return self.store.shape[3]

    def reserve(self, positions: int) -> None:
        """Grow to at least so many positions, or shrink if four times as many would be left."""
        capacity = -(-positions // STRIDE) * STRIDE
        if capacity > self.capacity or capacity < self.capacity // 4:
            kept, old = min(capacity, self.capacity), self.store
            layers, two, rows, _, heads, dim = self._shape
            self.store = torch.zeros(layers, two, rows, capacity, heads, dim)
            self.store[:, :, :, :kept] = old[:, :, :, :kept]

    def inputs(self, rows: int) -> list[ov.Tensor]:
        """Return keys and values in turn for each layer, `[rows, capacity, kv_heads, head_dim]`, without a copy."""
        arrays = self.store[:, :, :rows].flatten(0, 1)
        return [ov.Tensor(array.numpy(), shared_memory=True) for array in arrays]

    def append(self, outputs: Sequence[np.ndarray], positions: Tensor) -> None:
        """Store the new keys and values of a step at `positions` `[rows, time]`."""
        rows = torch.arange(len(positions))[:, None]
        for target, new in zip(self.store.flatten(0, 1), outputs, strict=True):
            target[rows, positions] = torch.from_numpy(new)

    def clear(self, rows: Tensor) -> None:
        """Zero rows: a NaN would spread through every product, masked or not."""
        self.store[:, :, rows] = 0


class OpenVinoDecoder:
    """Mimi's decoder as a graph; see `MimiDecoder`.

    Args:
        bundle: that holds the graph.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.codebook_size = bundle.config.codec_config.codebook_size
        self._request = bundle.sound.create_infer_request()
        _, *self._state = bundle.sound.inputs

    def initial_state(self, batch: int) -> State:
        """See `MimiDecoder.initial_state`."""
        return [_zeros(port, batch) for port in self._state]

    def __call__(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """See `MimiDecoder.forward`."""
        inputs = [tensor.contiguous().numpy() for tensor in (codes, *state)]
        samples, *after = (torch.from_numpy(array.copy()) for array in self._request.infer(inputs).values())
        return samples, after


class OpenVinoRuntime:
    """See `Runtime`.

    Args:
        bundle: compiled graphs and tables.
        rows: size of the batch; None for `DEFAULT_ROWS`.
    """

    prefill_chunk, idle_prefill_chunk = 16, 64
    notice: str | None = None

    def __init__(self, bundle: Bundle, rows: int | None) -> None:
        self.rows = rows = rows or DEFAULT_ROWS
        self.bundle, config = bundle, bundle.config
        self.positions, self.codebooks = config.max_position_embeddings, config.num_codebooks
        self.decoder, self.embeddings = OpenVinoDecoder(bundle), bundle.embeddings
        self._backbone, self._depth = bundle.backbone.create_infer_request(), bundle.depth.create_infer_request()
        shape = (config.num_key_value_heads, config.head_dim)
        self._kv_cache = OpenVinoKVCache(config.num_hidden_layers, rows, *shape)
        self._prefill_cache = OpenVinoKVCache(config.num_hidden_layers, 1, *shape)
        self._state = RowState(rows, torch.zeros(0), config.hidden_size)
        self._codes, self._steps = self.decoder.codebook_size, 0
        self._run_once()
        bundle.release_pages()
        memory_tuning.trim()

    @property
    def codec(self) -> str:
        """See `Runtime.codec`."""
        return self.bundle.encoder.fingerprint()

    @torch.inference_mode()
    def encode(self, samples: Tensor) -> Tensor:
        """See `Runtime.encode`."""
        codes: Tensor = self.bundle.encoder(samples)
        memory_tuning.trim()
        return codes

    @torch.inference_mode()
    def load_prefix(self, prefix: Prefix) -> None:
        """See `Runtime.load_prefix`."""
        self._prefill_cache.reserve(prefix.shape[2])
        self._prefill_cache.store[:, :, 0, : prefix.shape[2]] = prefix

    @torch.inference_mode()
    def prefill(self, x: Tensor, start: int) -> None:
        """See `Runtime.prefill`."""
        self._prefill_cache.reserve(start + len(x))
        self._run(self._prefill_cache, x[None], torch.arange(start, start + len(x))[None])

    @torch.inference_mode()
    def save_prefix(self, length: int) -> Prefix:
        """See `Runtime.save_prefix`."""
        return self._prefill_cache.store[:, :, 0, :length].clone()

    @torch.inference_mode()
    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """See `Runtime.join`."""
        self._kv_cache.reserve(max(length + 1, self._kv_cache.capacity if row else 0))
        self._kv_cache.store[:, :, row, :length] = self._prefill_cache.store[:, :, 0, :length]
        self._state.set(row, length, x, sampling)

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """See `Runtime.move`."""
        self._kv_cache.store[:, :, target, :length] = self._kv_cache.store[:, :, source, :length]
        self._state.move(source, target)

    @torch.inference_mode()
    def save_row(self, row: int, length: int) -> Prefix:
        """See `Runtime.save_row`."""
        return self._kv_cache.store[:, :, row, :length].clone()

    @torch.inference_mode()
    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `Runtime.step`."""
        state = self._state
        self._steps += 1
        if self._steps % RELEASE_EVERY == 0:
            self.bundle.release_pages()
        self._kv_cache.reserve(max(length, self._kv_cache.capacity))
        hidden = self._run(self._kv_cache, state.x[:rows, None], state.position[:rows, None])
        noise = gumbel_noise(state.seed[:rows], state.frame[:rows], self.codebooks + 1, self._codes)
        inputs = (hidden, noise, *state.rules(rows, top_k), torch.tensor(top_k))
        # A copy: the next call of the request overwrites the array.
        codes = torch.from_numpy(self._depth.infer([tensor.numpy() for tensor in inputs])[0].copy())
        state.advance(rows, codes, self.embeddings.embed_frames(codes), self.positions - 1)
        return codes.where(hidden.isfinite().all(dim=-1, keepdim=True), BAD_CODE)

    @torch.inference_mode()
    def _run_once(self) -> None:
        """Run every graph once, so that each has repacked its weights."""
        self.prefill(self._state.x[:1], 0)
        self.step(1, 1, 1)
        self.decoder(torch.zeros(1, self.codebooks, 1, dtype=torch.long), self.decoder.initial_state(1))

    def _run(self, cache: OpenVinoKVCache, x: Tensor, positions: Tensor) -> Tensor:
        """Extend the cache by `x` `[rows, time, dim]` and return the last hidden states `[rows, dim]`."""
        mask = past_mask(positions, cache.capacity)
        inputs = [x.contiguous().numpy(), positions.contiguous().numpy(), mask.numpy(), *cache.inputs(len(x))]
        for index, array in enumerate(inputs):
            tensor = array if isinstance(array, ov.Tensor) else ov.Tensor(array, shared_memory=True)
            self._backbone.set_input_tensor(index, tensor)
        self._backbone.infer()
        outputs = [tensor.data for tensor in self._backbone.output_tensors]
        cache.append(outputs[1:], positions)
        # A copy: the next call of the request overwrites the array.
        hidden = torch.from_numpy(outputs[0].copy())
        if len(bad := (~hidden.isfinite().all(dim=-1)).nonzero().flatten()):
            cache.clear(bad)
        return hidden


def _zeros(port: Any, batch: int) -> Tensor:
    """Return zeros in the shape of an input, whose dimensions but the first are known."""
    sizes = [size.get_length() for size in [*port.partial_shape][1:]]
    return torch.from_numpy(np.zeros((batch, *sizes), port.element_type.to_dtype()))


def past_mask(positions: Tensor, capacity: int) -> Tensor:
    """Return a mask that is True where a query may attend to a key.

    Args:
        positions: of the queries, `[rows, time]`, consecutive in each row.
        capacity: of the cache, which is filled up to the row's first query.

    Returns:
        `[rows, 1, time, capacity + time]`: first the cached keys, then those of this step.
    """
    rows, time = positions.shape
    stored = torch.arange(capacity) < positions[:, :1]
    now = torch.ones(time, time, dtype=torch.bool).tril()
    return torch.cat([stored[:, None].expand(rows, time, capacity), now.expand(rows, time, time)], dim=-1)[:, None]
