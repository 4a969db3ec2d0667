"""An engine whose answers and failures a test chooses."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from csm.engine.api import Chunk, EngineInfo, Sampling
from csm.engine.prefix_cache import ConversationPrefix
from csm.errors import CsmError
from csm.model.conversation import Conversation, Turn
from tests.speech.frames import Stream


@dataclass
class Call:
    """One generation that the engine was asked for."""

    conversation: Conversation
    sampling: Sampling
    max_frames: int
    is_disconnected: Callable[[], bool]
    closed: bool = False


@dataclass
class FakeEngine:
    """Implements `csm.engine.api.Engine`.

    Attributes:
        chunks: chunks of each generation, of one frame each.
        silent: number of generations that end before their first frame.
        error: raised after the last chunk.
        lost: what `failure` returns.
        hold: cleared, generations stop before their second chunk.
        codec: fingerprint of its codec.
        encoded: turns that were encoded.
        forgotten: fingerprints of reference audio that it was told to forget.
    """

    slots: int = 1
    chunks: int = 2
    silent: int = 0
    error: CsmError | None = None
    lost: str | None = None
    running: int = 0
    is_closed: bool = False
    calls: list[Call] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    codec: str = "c0"
    encoded: list[Turn] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return EngineInfo("fake", "cpu", "float32", self.slots, 24_000, 12.5, codec=self.codec)

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        *,
        has_deadline: bool = True,
        cache: ConversationPrefix | None = None,
    ) -> Stream:
        """See `Engine.generate`."""
        call = Call(conversation, sampling, max_frames, is_disconnected)
        self.calls.append(call)
        return Stream(self._chunks(call, len(self.calls) <= self.silent))

    def _chunks(self, call: Call, silent: bool) -> Generator[Chunk, None, None]:
        self.running += 1
        try:
            for number in range(0 if silent else self.chunks):
                assert not number or self.hold.wait(30)
                yield Chunk(np.full((1, 4), 1 + number, np.int64), np.full(1920, (number + 1) / 8, np.float32))
            if self.error:
                raise self.error
        finally:
            self.running -= 1
            call.closed = True

    def encode(self, turn: Turn, is_disconnected: Callable[[], bool]) -> NDArray[np.int64]:
        """See `Engine.encode`."""
        self.encoded.append(turn)
        frames = -(-len(turn.audio.samples) // 1920)
        return np.full((frames, 4), len(self.encoded), np.int64)

    def forget(self, fingerprint: bytes) -> None:
        """See `Engine.forget`."""
        self.forgotten.append(fingerprint)

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self.lost

    def stats(self) -> None:
        """See `Engine.stats`."""

    def close(self) -> None:
        """See `Engine.close`."""
        self.is_closed = True
