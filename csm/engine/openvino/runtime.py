"""The runtime for CPUs: quantised weights in OpenVINO graphs, one call for the backbone and one for the depth decoder.

Decoding on a CPU is bound by how many bytes of weights a frame reads; int8 reads a quarter of float32's, int4 an
eighth. `docs/performance.md` holds the comparison with other runtimes that led to this one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from csm import heap
from csm.engine.api import Sampling
from csm.engine.openvino.bundle import Bundle
from csm.engine.runtimes.torch import BAD_CODE, DEFAULT_ROWS, RowState
from csm.model.kv_cache import Prefix
from csm.model.sampling import gumbel_noise
from csm.model.mimi.transformer import State

STRIDE = 128
"""Positions by which the memory of rows grows: a graph reads all of it, so it is kept as short as the longest row."""

RELEASE_EVERY = 4
"""Steps after which what was read from files is handed back: tables whose rows come and go would pile up to 500 MB."""


class OpenVinoKVCache:
    """Keys and values per layer in arrays that a graph can read in place.

    Args:
        layers: of the transformer.
        rows: of the batch.
        kv_heads: per layer.
        head_dim: per head.
    """

    def __init__(self, layers: int, rows: int, kv_heads: int, head_dim: int) -> None:
        self._shape = (layers, 2, rows, 0, kv_heads, head_dim)
        self.store = torch.zeros(self._shape)

    @property
    def capacity(self) -> int:
        """Positions that each row can hold."""
        return self.store.shape[3]

    def reserve(self, positions: int) -> None:
        """Make room for that many positions in each row, and give back what is far too much."""
        capacity = -(-positions // STRIDE) * STRIDE
        if capacity > self.capacity or capacity < self.capacity // 4:
            kept, old = min(capacity, self.capacity), self.store
            layers, two, rows, _, heads, dim = self._shape
            self.store = torch.zeros(layers, two, rows, capacity, heads, dim)
            self.store[:, :, :, :kept] = old[:, :, :, :kept]

    def inputs(self, rows: int) -> list[ov.Tensor]:
        """Keys and values in turn per layer, `[rows, capacity, kv_heads, head_dim]`, without a copy."""
        arrays = self.store[:, :, :rows].flatten(0, 1)
        return [ov.Tensor(array.numpy(), shared_memory=True) for array in arrays]

    def append(self, outputs: Sequence[np.ndarray], positions: Tensor) -> None:
        """Store what a step computed, at `positions` `[rows, time]`."""
        rows = torch.arange(len(positions))[:, None]
        for target, new in zip(self.store.flatten(0, 1), outputs, strict=True):
            target[rows, positions] = torch.from_numpy(new)

    def clear(self, rows: Tensor) -> None:
        """Forget rows: what is not a number would spread through every product, masked or not."""
        self.store[:, :, rows] = 0


class OpenVinoDecoder:
    """Mimi's decoder as a graph; see `csm.model.mimi.decoder.MimiDecoder`.

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
        rows: of the batch; None takes `DEFAULT_ROWS`.
    """

    prefill_chunk, idle_prefill_chunk = 16, 64
    notice: str | None = None

    def __init__(self, bundle: Bundle, rows: int | None) -> None:
        self.rows = rows = rows or DEFAULT_ROWS
        self._bundle, config = bundle, bundle.config
        self.positions, self.codebooks = config.max_position_embeddings, config.num_codebooks
        self.decoder, self.embeddings = OpenVinoDecoder(bundle), bundle.embeddings
        self._backbone, self._depth = bundle.backbone.create_infer_request(), bundle.depth.create_infer_request()
        shape = (config.num_key_value_heads, config.head_dim)
        self._memory = OpenVinoKVCache(config.num_hidden_layers, rows, *shape)
        self._reading = OpenVinoKVCache(config.num_hidden_layers, 1, *shape)
        self._state = RowState(rows, torch.zeros(0), config.hidden_size)
        self._codes, self._steps = self.decoder.codebook_size, 0
        self._run_once()
        bundle.release_pages()
        heap.trim()

    @torch.inference_mode()
    def encode(self, samples: Tensor) -> Tensor:
        """See `Runtime.encode`."""
        codes: Tensor = self._bundle.encoder(samples)
        heap.trim()
        return codes

    @torch.inference_mode()
    def load_prefix(self, prefix: Prefix) -> None:
        """See `Runtime.load_prefix`."""
        self._reading.reserve(prefix.shape[2])
        self._reading.store[:, :, 0, : prefix.shape[2]] = prefix

    @torch.inference_mode()
    def prefill(self, x: Tensor, start: int) -> None:
        """See `Runtime.prefill`."""
        self._reading.reserve(start + len(x))
        self._run(self._reading, x[None], torch.arange(start, start + len(x))[None])

    @torch.inference_mode()
    def save_prefix(self, length: int) -> Prefix:
        """See `Runtime.save_prefix`."""
        return self._reading.store[:, :, 0, :length].clone()

    @torch.inference_mode()
    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """See `Runtime.join`."""
        self._memory.reserve(max(length + 1, self._memory.capacity if row else 0))
        self._memory.store[:, :, row, :length] = self._reading.store[:, :, 0, :length]
        self._state.set(row, length, x, sampling)

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """See `Runtime.move`."""
        self._memory.store[:, :, target, :length] = self._memory.store[:, :, source, :length]
        self._state.move(source, target)

    @torch.inference_mode()
    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `Runtime.step`."""
        state = self._state
        self._steps += 1
        if self._steps % RELEASE_EVERY == 0:
            self._bundle.release_pages()
        self._memory.reserve(max(length, self._memory.capacity))
        hidden = self._run(self._memory, state.x[:rows, None], state.position[:rows, None])
        noise = gumbel_noise(state.seed[:rows], state.frame[:rows], self.codebooks, self._codes)
        codes = self._draw(hidden, noise, rows, top_k)
        state.advance(rows, self.embeddings.embed_frames(codes), self.positions - 1)
        return codes.where(hidden.isfinite().all(dim=-1, keepdim=True), BAD_CODE)

    @torch.inference_mode()
    def _run_once(self) -> None:
        """Every graph once, so that each has arranged its weights."""
        self.prefill(self._state.x[:1], 0)
        self.step(1, 1, 1)
        self.decoder(torch.zeros(1, self.codebooks, 1, dtype=torch.long), self.decoder.initial_state(1))

    def _run(self, memory: OpenVinoKVCache, x: Tensor, positions: Tensor) -> Tensor:
        """The backbone over `x`; remembers keys and values, and gives the last hidden states `[rows, dim]`."""
        mask = past_mask(positions, memory.capacity)
        inputs = [x.contiguous().numpy(), positions.contiguous().numpy(), mask.numpy(), *memory.inputs(len(x))]
        for index, array in enumerate(inputs):
            tensor = array if isinstance(array, ov.Tensor) else ov.Tensor(array, shared_memory=True)
            self._backbone.set_input_tensor(index, tensor)
        self._backbone.infer()
        outputs = [tensor.data for tensor in self._backbone.output_tensors]
        memory.append(outputs[1:], positions)
        # A copy: the array belongs to the request, whose next call overwrites it.
        hidden = torch.from_numpy(outputs[0].copy())
        if len(bad := (~hidden.isfinite().all(dim=-1)).nonzero().flatten()):
            memory.clear(bad)
        return hidden

    def _draw(self, hidden: Tensor, noise: Tensor, rows: int, most: int) -> Tensor:
        temperature, top_k = self._state.temperature[:rows], self._state.top_k[:rows]
        inputs = (hidden, noise, temperature, top_k, torch.tensor(most))
        result = self._depth.infer([tensor.numpy() for tensor in inputs])
        return torch.from_numpy(result[0].copy())


def _zeros(port: Any, batch: int) -> Tensor:
    """What a graph takes there; all but its first dimension, the batch, are known."""
    sizes = [size.get_length() for size in [*port.partial_shape][1:]]
    return torch.from_numpy(np.zeros((batch, *sizes), port.element_type.to_dtype()))


def past_mask(positions: Tensor, capacity: int) -> Tensor:
    """True where a query may look, at `capacity` stored positions, then at those of this step.

    Args:
        positions: of the queries, `[rows, time]`, consecutive in each row.
        capacity: stored positions, of which those before the row's first query are filled.

    Returns:
        `[rows, 1, time, capacity + time]`.
    """
    rows, time = positions.shape
    stored = torch.arange(capacity) < positions[:, :1]
    now = torch.ones(time, time, dtype=torch.bool).tril()
    return torch.cat([stored[:, None].expand(rows, time, capacity), now.expand(rows, time, time)], dim=-1)[:, None]
