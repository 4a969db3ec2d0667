"""From single frames to chunks of sound."""

import numpy as np
import torch
from torch import Tensor

from csm.engine.api import CHUNK_FRAMES, Chunk
from csm.errors import GenerationFailed
from csm.model.codec import MimiDecoder


class ChunkDecoder:
    """Gathers the frames of one stream and decodes them by the schedule `CHUNK_FRAMES`.

    Args:
        decoder: shared by all streams; the state is this stream's own.
    """

    def __init__(self, decoder: MimiDecoder) -> None:
        self._decoder, self._state = decoder, decoder.initial_state(1)
        self._pending: list[Tensor] = []
        self._chunks = 0

    def push(self, frame: Tensor) -> Chunk | None:
        """Take one frame `[codebooks]`; a chunk where one is complete.

        Raises:
            GenerationFailed: a code that the codec does not know, or samples that are not finite.
        """
        if int(frame.max()) >= self._decoder.codebook_size or int(frame.min()) < 0:
            raise GenerationFailed("the model produced an impossible code")
        self._pending.append(frame)
        due = CHUNK_FRAMES[min(self._chunks, len(CHUNK_FRAMES) - 1)]
        return self.flush() if len(self._pending) >= due else None

    def flush(self) -> Chunk | None:
        """What is left, however little; None where nothing is."""
        if not self._pending:
            return None
        codes = torch.stack(self._pending)
        self._pending.clear()
        self._chunks += 1
        with torch.inference_mode():
            samples, self._state = self._decoder(codes.T[None], self._state)
        sound = samples[0].float().cpu().numpy()
        if not np.isfinite(sound).all():
            raise GenerationFailed("the codec produced samples that are not finite")
        return Chunk(codes.cpu().numpy(), sound)
