"""What the scheduler asks of a device, and the answer in plain PyTorch for CPU and CUDA."""

from typing import Protocol

import torch
from torch import Tensor, nn

from csm.engine.api import Sampling
from csm.engine.codec_worker import CodecDecoder
from csm.engine.devices import Placement
from csm.model.checkpoint import Checkpoint
from csm.model.mimi.decoder import MimiDecoder
from csm.model.mimi.encoder import MimiEncoder
from csm.model.depth_decoder import Backbone, DepthDecoder, Embeddings, attention_bias, causal_mask
from csm.model.kv_cache import Prefix, BatchKVCache
from csm.model.sampling import gumbel_noise

BAD_CODE = -1
"""Stands in every code of a frame whose hidden state was not finite."""


DEFAULT_ROWS = 2
"""On a CPU, which hardly speaks in real time to one."""


class Runtime(Protocol):
    """The model on one device, with a batch of rows that the scheduler fills and empties.

    Attributes:
        rows: of the batch.
        codebooks: codes per frame.
        positions: that a row can hold.
        prefill_chunk: positions that take about as long as one frame.
        idle_prefill_chunk: positions to read at once while no stream waits for its next frame.
        embeddings: of text and frames.
        notice: what runs worse than it could and what helps, or None.
    """

    rows: int
    codebooks: int
    positions: int
    prefill_chunk: int
    idle_prefill_chunk: int
    embeddings: Embeddings
    notice: str | None

    @property
    def decoder(self) -> CodecDecoder:
        """Mimi's, shared by all streams."""

    def encode(self, samples: Tensor) -> Tensor:
        """Codes `[frames, codebooks]` of a reference `[samples]`."""

    def load_prefix(self, prefix: Prefix) -> None:
        """Begin a prefill at the end of this prefix."""

    def prefill(self, x: Tensor, start: int) -> None:
        """Run the backbone over embeddings `[time, dim]` from position `start` of the prompt that is being read."""

    def save_prefix(self, length: int) -> Prefix:
        """A copy of the first positions of the prompt that is being read."""

    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """Let the prompt that was read become a row: its next input is `x` `[dim]`, at position `length`."""

    def move(self, source: int, target: int, length: int) -> None:
        """Let one row take another's place."""

    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """One frame for each of the first `rows` rows.

        Args:
            rows: that are in use.
            length: longest row, this frame included.
            top_k: largest among them.

        Returns:
            Codes `[rows, codebooks]` on the CPU; `BAD_CODE` throughout where the model's state is not finite.
        """


class RowState:
    """What each row carries from frame to frame, at fixed addresses."""

    def __init__(self, rows: int, like: Tensor, dim: int) -> None:
        device = like.device
        self.x = like.new_zeros(rows, dim)
        self.position, self.frame, self.seed = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3))
        self.top_k = torch.ones(rows, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, device=device)

    def set(self, row: int, position: int, x: Tensor, sampling: Sampling) -> None:
        """Begin a generation."""
        self.x[row], self.position[row], self.frame[row] = x, position, 0
        self.seed[row], self.temperature[row], self.top_k[row] = sampling.seed, sampling.temperature, sampling.top_k

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for tensor in (self.x, self.position, self.frame, self.seed, self.top_k, self.temperature):
            tensor[target] = tensor[source]

    def advance(self, rows: int, x: Tensor, limit: int) -> None:
        """To the next frame, whose input is `x`.

        Rows that merely fill up a captured batch go on for ever, so positions stop at `limit`.
        """
        self.x[:rows] = x
        self.position[:rows] = (self.position[:rows] + 1).clamp(max=limit)
        self.frame[:rows] += 1


def lay_out_by_columns(module: nn.Module) -> None:
    """Store the weights of all linear layers by input instead of by output.

    For a batch of a few rows, torch's CPU product then streams through memory a third faster (docs/performance.md).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(layer.weight.detach().T.contiguous().T, requires_grad=False)


class TorchRuntime:
    """Eager PyTorch in float precision; see `Runtime`.

    Args:
        checkpoint: to load.
        placement: device and precision.
        rows: of the batch; None takes what suits the device.
    """

    prefill_chunk, idle_prefill_chunk = 16, 64
    notice: str | None = None

    def __init__(self, checkpoint: Checkpoint, placement: Placement, rows: int | None) -> None:
        model = checkpoint.load(placement.dtype, placement.device)
        config = checkpoint.config
        codec = model.codec_model.float()
        self.encoder, self.decoder = MimiEncoder.of(codec), MimiDecoder(codec)
        self.embeddings = Embeddings.of(model)
        self.depth, self.backbone = DepthDecoder(model), Backbone(model)
        if placement.device.type == "cpu":
            for part in (self.depth, self.backbone):
                lay_out_by_columns(part)
        self.positions, self.codebooks = config.max_position_embeddings, config.num_codebooks
        self.device = placement.device
        like, shape = self.embeddings.audio, (config.num_key_value_heads, config.head_dim)
        self.reading = BatchKVCache(config.num_hidden_layers, 1, self.positions, *shape, like)
        self.row_bytes = self.reading.store.nbytes
        self.rows = rows or self.default_rows()
        self.memory = BatchKVCache(config.num_hidden_layers, self.rows, self.positions, *shape, like)
        self.state = RowState(self.rows, like, config.hidden_size)

    def default_rows(self) -> int:
        """Return how many streams the device can be expected to serve together."""
        return DEFAULT_ROWS

    @torch.inference_mode()
    def encode(self, samples: Tensor) -> Tensor:
        """See `Runtime.encode`."""
        codes: Tensor = self.encoder(samples.to(self.device))
        return codes

    def load_prefix(self, prefix: Prefix) -> None:
        """See `Runtime.load_prefix`."""
        self.reading.load(0, prefix)

    @torch.inference_mode()
    def prefill(self, x: Tensor, start: int) -> None:
        """See `Runtime.prefill`."""
        end = start + len(x)
        positions = torch.arange(start, end, device=self.device)[None]
        bias = attention_bias(causal_mask(positions, end), x.dtype)
        self.backbone(x[None], positions, bias, self.reading.at(1, positions, end))

    def save_prefix(self, length: int) -> Prefix:
        """See `Runtime.save_prefix`."""
        return self.reading.save(0, length)

    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """See `Runtime.join`."""
        # What filled up a batch before may have left anything in this row.
        self.memory.clear(row)
        self.memory.load(row, self.reading.store[:, :, 0, :length])
        self.state.set(row, length, x, sampling)

    def move(self, source: int, target: int, length: int) -> None:
        """See `Runtime.move`."""
        self.memory.move(source, target, length)
        self.state.move(source, target)

    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `Runtime.step`."""
        # Always a copy: the next replay of a graph overwrites its codes.
        codes = self.frame(rows, length, top_k).to("cpu", copy=True)
        for row in (codes[:, 0] == BAD_CODE).nonzero().flatten().tolist():
            self.memory.clear(row)
        return codes

    @torch.inference_mode()
    def frame(self, rows: int, length: int, top_k: int) -> Tensor:
        """`step` without waiting for the device: pure tensor work at fixed addresses."""
        state = self.state
        positions = state.position[:rows, None]
        memory = self.memory.at(rows, positions, length)
        bias = attention_bias(causal_mask(positions, length), state.x.dtype)
        hidden = self.backbone(state.x[:rows, None], positions, bias, memory)[:, 0]
        noise = gumbel_noise(state.seed[:rows], state.frame[:rows], self.codebooks, self.depth.codebook_size)
        # Rows that merely fill up a captured batch may hold the wider draws of a generation that is over.
        top_ks = state.top_k[:rows].clamp(max=top_k)
        codes = self.depth(hidden, noise, state.temperature[:rows], top_ks, top_k)
        state.advance(rows, self.embeddings.embed_frames(codes), self.positions - 1)
        # A draw from logits that are not numbers is code 0, which would pass for the end of the turn.
        checked: Tensor = codes.where(hidden.isfinite().all(dim=-1, keepdim=True), BAD_CODE)
        return checked
