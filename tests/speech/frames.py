"""Frames of sound, silence and loops, as an engine would yield them."""

from collections.abc import Generator, Iterator

import numpy as np

from csm.engine.api import Chunk

RATE, FRAME_RATE, FRAME = 24_000, 12.5, 1920


def sound(count: int, level: float = 0.1, seed: int = 0) -> Chunk:
    """Frames of noise, each with a first code of its own."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(2000)[:count, None].repeat(4, axis=1) + 1
    return Chunk(codes, (level * rng.standard_normal(count * FRAME)).astype(np.float32))


def silence(count: int) -> Chunk:
    """Return frames of zeros."""
    return Chunk(np.full((count, 4), 7, np.int64), np.zeros(count * FRAME, np.float32))


def looped(pattern: list[int], count: int) -> Chunk:
    """Return frames of noise whose first codes repeat a pattern."""
    codes = np.resize(np.asarray(pattern), count)[:, None].repeat(4, axis=1)
    return Chunk(codes, sound(count).samples)


class Stream(Iterator[Chunk]):
    """Implements `csm.engine.api.ChunkStream` over a generator."""

    def __init__(self, chunks: Generator[Chunk, None, None], is_cut: bool = False) -> None:
        self._chunks, self.is_cut = chunks, is_cut

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def close(self) -> None:
        """Close the generator."""
        self._chunks.close()
