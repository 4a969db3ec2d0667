"""What the scheduler asks of a device, and the state that every runtime keeps for each row of its batch."""

from typing import Protocol

import torch
from torch import Tensor

from csm.engine.api import Sampling
from csm.engine.codec_worker import CodecDecoder
from csm.model.backbone import Embeddings
from csm.model.kv_cache import Prefix

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
