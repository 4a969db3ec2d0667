"""What an engine is: a conversation in, chunks of frames and samples out, for several callers at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Samples
from csm.model.conversation import Conversation

CHUNK_FRAMES = (1, 2, 4, 8)
"""Frames per chunk, the last repeated: the first sound leaves at once, later chunks cost less each."""


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn from the model's distributions, for backbone and depth decoder alike.

    Attributes:
        seed: of this generation's own random stream.
        temperature: 0 takes the likeliest code.
        top_k: number of likeliest codes considered.
    """

    seed: int
    temperature: float = 0.9
    top_k: int = 50


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive frames and their sound.

    Attributes:
        codes: `[frames, codebooks]`.
        samples: float32 `[frames * 1920]` at the codec's rate.
    """

    codes: NDArray[np.int64]
    samples: Samples


@dataclass(frozen=True)
class EngineInfo:
    """What an engine is and can do.

    Attributes:
        name: `csm` or `transformers`.
        device: such as `cuda:0`.
        precision: of the weights, such as `bfloat16` or `int8`.
        slots: generations at once.
        sample_rate: of the codec, in Hz.
        frame_rate: frames per second.
        notices: what runs worse than it could and what helps, a sentence each.
    """

    name: str
    device: str
    precision: str
    slots: int
    sample_rate: int
    frame_rate: float
    notices: tuple[str, ...] = ()


class Engine(Protocol):
    """The one interface of all ways to run the model. Thread-safe."""

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""

    @property
    def running(self) -> int:
        """Generations that hold a slot."""

    def generate(
        self, conversation: Conversation, sampling: Sampling, max_frames: int, gone: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Say the conversation's last turn; the iterator ends at the model's end frame or at `max_frames`.

        Closing the iterator, or `gone()` turning true, stops the generation at the next frame.

        Raises:
            InvalidRequest: the conversation does not fit the model's context.
            GenerationFailed: not a number, an impossible code, out of memory.
            DeadlineExceeded: nothing came in time.
            Cancelled: `gone()` was true.
        """

    def failure(self) -> str | None:
        """Why this engine can serve nobody any more, or None."""

    def close(self) -> None:
        """Stop all generations and release the device."""
