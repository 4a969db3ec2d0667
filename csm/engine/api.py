"""The interface of an engine: a conversation in, chunks of audio out, for several clients at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Samples
from csm.engine.prefix_cache import ConversationPrefix
from csm.engine.stats import EngineStats
from csm.model.conversation import Conversation, Turn

CHUNK_FRAMES = (1, 2, 4, 8)
"""Frames in the first chunks, the last number repeated: the first audio leaves at once, later chunks cost less."""


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn, in the backbone and the depth decoder alike.

    Attributes:
        seed: of this generation's own random stream.
        temperature: 0 takes the likeliest code.
        top_k: how many of the likeliest codes are considered.
        min_frames: before which the turn cannot end; the `transformers` engine ignores it.
        avoid_repeats: whether a first code that occurred repeatedly just before is drawn again from the whole
            distribution (`csm.model.sampling.draw_first`); not at temperature 0, nor in the `transformers` engine.
    """

    seed: int
    temperature: float = 0.9
    top_k: int = 50
    min_frames: int = 0
    avoid_repeats: bool = True


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive frames and their audio.

    Attributes:
        codes: `[frames, codebooks]`.
        samples: float32 `[frames * 1920]` at the codec's sample rate.
    """

    codes: NDArray[np.int64]
    samples: Samples


@dataclass(frozen=True)
class EngineInfo:
    """Properties of an engine.

    Attributes:
        name: `csm` or `transformers`.
        device: such as `cuda:0`.
        precision: of the weights, such as `bfloat16` or `int8`.
        slots: generations at once.
        sample_rate: of the codec, in Hz.
        frame_rate: frames per second.
        notices: what does not run as well as it could, and the remedy; one sentence each.
        codec: fingerprint of the codec that encodes reference audio: its codes mean nothing to another one.
    """

    name: str
    device: str
    precision: str
    slots: int
    sample_rate: int
    frame_rate: float
    notices: tuple[str, ...] = ()
    codec: str = ""


class ChunkStream(Protocol):
    """The chunks of one generation."""

    def __iter__(self) -> Iterator[Chunk]:
        """Return itself."""

    def __next__(self) -> Chunk:
        """Wait for the next chunk."""

    def close(self) -> None:
        """Stop the generation at its next frame."""

    @property
    def is_cut(self) -> bool:
        """Whether it ended at `max_frames` or at the end of the context, not at the model's end frame."""


class Engine(Protocol):
    """Every way to run the model implements this. Thread-safe."""

    @property
    def info(self) -> EngineInfo:
        """Properties of this engine."""

    @property
    def running(self) -> int:
        """Generations that hold a slot."""

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        *,
        has_deadline: bool = True,
        cache: ConversationPrefix | None = None,
    ) -> ChunkStream:
        """Generate the conversation's last turn, up to the model's end frame or `max_frames`.

        Turns of the context that have codes are not encoded again, except by the `transformers` engine.

        The generation stops at the next frame when the stream is closed or `is_disconnected()` is true. A client that
        has no audio yet is told when none comes in time; one that has some (`has_deadline=False`) waits for its turn.

        With the `cache` of a conversation, its next generation begins where this one ended, provided that its turns
        are those of this one and the turn that was generated, with all of its codes.

        Raises:
            InvalidRequest: the conversation does not fit into the model's context; if turns were said before,
                `max_frames` must fit as well, since leaving out old turns is better than cutting off the new one.
            GenerationFailed: the state is not finite, a code is impossible, or memory ran out.
            DeadlineExceeded: no chunk came in time.
            Cancelled: `is_disconnected()` was true.
        """

    def encode(self, turn: Turn, is_disconnected: Callable[[], bool]) -> NDArray[np.int64]:
        """Return the codes `[frames, codebooks]` of a turn that has audio, from the cache of voices if they are there.

        Raises:
            GenerationFailed: memory ran out, or the device failed.
            Cancelled: `is_disconnected()` was true while this waited.
        """

    def forget(self, fingerprint: bytes) -> None:
        """Remove everything made of reference audio of this fingerprint (`Waveform`) from the cache of voices."""

    def failure(self) -> str | None:
        """Return why this engine cannot serve any more, or None."""

    def stats(self) -> EngineStats | None:
        """Return statistics since the start, or None if this engine has none; they go on changing."""

    def close(self) -> None:
        """Stop all generations and release the device."""
