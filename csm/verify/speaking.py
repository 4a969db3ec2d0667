"""Measure the times and codes of a generation, for comparing engines, precisions and machines."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from time import perf_counter

from csm.engine.api import Engine, Sampling
from csm.model.conversation import Conversation


def greedy(engine: Engine, said: Conversation, frames: int) -> list[list[int]]:
    """Generate greedily; return the codes of the first frames, `[frames, codebooks]`."""
    never: Callable[[], bool] = lambda: False  # noqa: E731
    chunks = engine.generate(said, Sampling(0, temperature=0.0, top_k=1), frames, never)
    return [frame.tolist() for chunk in chunks for frame in chunk.codes]


def leading(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> int:
    """Count the frames before the first that differs in any code."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))


def timeline(engine: Engine, said: Conversation, seed: int, frames: int) -> list[tuple[float, int]]:
    """Return when each chunk arrived, in seconds since the call, and its number of frames."""
    never: Callable[[], bool] = lambda: False  # noqa: E731
    began = perf_counter()
    chunks = engine.generate(said, Sampling(seed), frames, never)
    return [(perf_counter() - began, len(chunk.codes)) for chunk in chunks]


def real_time_factor(line: Sequence[tuple[float, int]], frame_rate: float) -> float:
    """Return the seconds of computing for one second of audio, from the first chunk of a timeline to the last.

    Raises:
        ValueError: the timeline has fewer than two chunks.
    """
    if len(line) < 2:
        raise ValueError("a stream ended before its second chunk: ask for more frames")
    return (line[-1][0] - line[0][0]) / sum(frames for _, frames in line[1:]) * frame_rate
