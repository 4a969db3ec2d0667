"""The interface of a runtime, and the state that each row of a batch carries from frame to frame."""

from typing import Protocol

import torch
from torch import Tensor

from csm.engine.api import Sampling
from csm.engine.codec_worker import CodecDecoder
from csm.model.backbone import Embeddings
from csm.model.kv_cache import Prefix
from csm.model.sampling import RECENT_FRAMES, Rules

BAD_CODE = -1
"""Every code of a frame whose hidden state is not finite."""

NO_CODE = -1
"""In the place of the codes of frames before the first."""

DEFAULT_ROWS = 2
"""Streams at once on a CPU, which hardly keeps up with one."""


class Runtime(Protocol):
    """The model on one device, with a batch of rows that the scheduler fills and frees.

    Attributes:
        rows: size of the batch.
        codebooks: codes per frame.
        positions: capacity of a row.
        prefill_chunk: positions whose prefill takes about as long as a frame.
        idle_prefill_chunk: positions to prefill at once while nothing else is running.
        embeddings: of text and frames.
        notice: what does not run as well as it could, and the remedy; or None.
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
        """Mimi's decoder, shared by all streams."""

    @property
    def codec(self) -> str:
        """Fingerprint of Mimi's encoder; see `EngineInfo.codec`."""

    def encode(self, samples: Tensor) -> Tensor:
        """Return the codes `[frames, codebooks]` of reference audio `[samples]`."""

    def load_prefix(self, prefix: Prefix) -> None:
        """Begin a prefill behind this prefix."""

    def prefill(self, x: Tensor, start: int) -> None:
        """Run the backbone over embeddings `[time, dim]` from position `start` of the prompt on."""

    def save_prefix(self, length: int) -> Prefix:
        """Return a copy of the first positions of the prompt."""

    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """Make a row of the prefilled prompt; its next input is `x` `[dim]`, at position `length`."""

    def move(self, source: int, target: int, length: int) -> None:
        """Copy row `source`, of `length` positions, over row `target`."""

    def save_row(self, row: int, length: int) -> Prefix:
        """Return a copy of the first positions of a row."""

    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """Make one frame for each of the first `rows` rows.

        Args:
            rows: in use.
            length: of the longest row, this frame included.
            top_k: largest of these rows.

        Returns:
            Codes `[rows, codebooks]` on the CPU; all `BAD_CODE` in a row whose state is not finite.
        """


class RowState:
    """What each row carries from frame to frame, at addresses that a CUDA graph may capture."""

    def __init__(self, rows: int, like: Tensor, dim: int) -> None:
        device = like.device
        self.x = like.new_zeros(rows, dim)
        self.position, self.frame, self.seed = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3))
        self.top_k = torch.ones(rows, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, device=device)
        self.min_frames = torch.zeros(rows, dtype=torch.long, device=device)
        self.avoid_repeats = torch.zeros(rows, dtype=torch.bool, device=device)
        self.recent = torch.full((rows, RECENT_FRAMES), NO_CODE, device=device)

    def set(self, row: int, position: int, x: Tensor, sampling: Sampling) -> None:
        """Begin a generation in a row."""
        self.x[row], self.position[row], self.frame[row] = x, position, 0
        self.seed[row], self.temperature[row], self.top_k[row] = sampling.seed, sampling.temperature, sampling.top_k
        self.min_frames[row], self.recent[row] = sampling.min_frames, NO_CODE
        self.avoid_repeats[row] = sampling.avoid_repeats and sampling.temperature > 0

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for tensor in vars(self).values():
            tensor[target] = tensor[source]

    def rules(self, rows: int, max_top_k: int) -> Rules:
        """Return how the first `rows` rows draw.

        Padding rows of a captured batch may hold a larger top-k of a generation that is over, so it is clamped.
        """
        return Rules(
            temperature=self.temperature[:rows],
            top_k=self.top_k[:rows].clamp(max=max_top_k),
            recent=self.recent[:rows],
            may_end=self.frame[:rows] >= self.min_frames[:rows],
            avoid_repeats=self.avoid_repeats[:rows],
        )

    def advance(self, rows: int, codes: Tensor, x: Tensor, limit: int) -> None:
        """Go on to the next frame.

        Padding rows of a captured batch go on for ever, so positions stop at `limit`.

        Args:
            rows: that made a frame.
            codes: of that frame, `[rows, codebooks]`.
            x: input of the next one, `[rows, dim]`.
            limit: last position.
        """
        self.recent[:rows] = torch.cat([self.recent[:rows, 1:], codes[:, :1]], dim=1)
        self.x[:rows] = x
        self.position[:rows] = (self.position[:rows] + 1).clamp(max=limit)
        self.frame[:rows] += 1
