"""From single frames to chunks of sound, for one stream or for many in a batch."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from csm.engine.api import CHUNK_FRAMES, Chunk
from csm.errors import GenerationFailed
from csm.model.mimi.transformer import State


class CodecDecoder(Protocol):
    """`csm.model.mimi.decoder.MimiDecoder`, or the same in another runtime."""

    codebook_size: int

    def initial_state(self, batch: int) -> State:
        """See `MimiDecoder.initial_state`."""

    def __call__(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """See `MimiDecoder.forward`."""


class CodecStream:
    """The frames of one generation on their way to becoming sound.

    Args:
        decoder: of all streams; the state is this stream's own.
    """

    def __init__(self, decoder: CodecDecoder) -> None:
        self.state = decoder.initial_state(1)
        self._pending: list[Tensor] = []
        self._chunks = 0

    def push(self, frame: Tensor) -> Tensor | None:
        """Take one frame `[codebooks]`; codes `[frames, codebooks]` where a chunk of `CHUNK_FRAMES` is complete."""
        self._pending.append(frame)
        due = CHUNK_FRAMES[min(self._chunks, len(CHUNK_FRAMES) - 1)]
        return self.flush() if len(self._pending) >= due else None

    def flush(self) -> Tensor | None:
        """The frames that are left, however few; None where there are none."""
        if not self._pending:
            return None
        codes = torch.stack(self._pending)
        self._pending.clear()
        self._chunks += 1
        return codes


def decode(decoder: CodecDecoder, streams: Sequence[CodecStream], codes: Tensor) -> list[Chunk | GenerationFailed]:
    """Decode the next frames of several streams in one batch.

    Args:
        decoder: of all of them.
        streams: each at most once.
        codes: `[streams, frames, codebooks]`.

    Returns:
        For each stream its chunk, or why its sound is not usable; a bad stream does not touch its neighbours.
    """
    known = (codes >= 0) & (codes < decoder.codebook_size)
    with torch.inference_mode():
        state = [torch.cat(parts) for parts in zip(*(stream.state for stream in streams), strict=True)]
        samples, state = decoder(codes.where(known, 0).mT.to(state[0].device), state)
        sound = samples.float().cpu()
        rows = zip(*(torch.chunk(tensor, len(streams)) for tensor in state), strict=True)
    for stream, row in zip(streams, rows, strict=True):
        stream.state = list(row)
    return [_checked(*parts) for parts in zip(codes, sound, known.flatten(1).all(1).tolist(), strict=True)]


def _checked(codes: Tensor, samples: Tensor, known: bool) -> Chunk | GenerationFailed:
    if not known:
        return GenerationFailed("the model produced an impossible code")
    if not bool(samples.isfinite().all()):
        return GenerationFailed("the codec produced samples that are not finite")
    return Chunk(codes.cpu().numpy().astype(np.int64), samples.numpy())
