"""An engine that says what it is told to, and samples to speak after."""

import io
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile

from csm.engine.api import Chunk, EngineInfo, Sampling
from csm.errors import CsmError
from csm.model.conversation import Conversation
from csm.settings import Settings, load
from csm.speech import Synthesizer, Utterance


def sample(seconds: float = 2.0, seed: int = 0) -> bytes:
    """A WAV that passes for speech: bursts of noise with pauses."""
    time = np.arange(int(seconds * 24_000)) / 24_000
    bursts = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) ** 2
    noise = np.random.default_rng(seed).standard_normal(len(time))
    file = io.BytesIO()
    soundfile.write(file, (0.2 * bursts * noise).clip(-1, 1), 24_000, format="WAV")
    return file.getvalue()


SAMPLE = sample()


def utterance(text: str = "Hello there.", **given: Any) -> Utterance:
    return Utterance(**{"text": text, "reference": SAMPLE, "transcript": "Heard before.", **given})


def settings(**given: Any) -> Settings:
    return load(None, **{"model": "demo", "queue": 1, **given})


def never() -> bool:
    return False


def speak(
    synthesizer: Synthesizer, said: Utterance, is_disconnected: Callable[[], bool] = never
) -> Generator[bytes, None, None]:
    """Reserve and speak, as a request does."""
    return synthesizer.speak(said, synthesizer.reserve(), is_disconnected)


@dataclass
class Call:
    """What an engine was asked for, and whether it was closed."""

    conversation: Conversation
    sampling: Sampling
    max_frames: int
    gone: Callable[[], bool]
    closed: bool = False


@dataclass
class FakeEngine:
    """Implements `csm.engine.api.Engine`.

    Attributes:
        silent: attempts that end before their first frame.
        error: raised after `chunks` chunks.
        hold: waited for before each chunk but the first.
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

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("fake", "cpu", "float32", self.slots, 24_000, 12.5)

    def generate(
        self, conversation: Conversation, sampling: Sampling, max_frames: int, gone: Callable[[], bool]
    ) -> Iterator[Chunk]:
        call = Call(conversation, sampling, max_frames, gone)
        self.calls.append(call)
        return self._chunks(call, len(self.calls) <= self.silent)

    def _chunks(self, call: Call, silent: bool) -> Iterator[Chunk]:
        self.running += 1
        try:
            for number in range(0 if silent else self.chunks):
                assert not number or self.hold.wait(30)
                yield Chunk(np.zeros((1, 4), np.int64), np.full(1920, number / 8, np.float32))
            if self.error:
                raise self.error
        finally:
            self.running -= 1
            call.closed = True

    def failure(self) -> str | None:
        return self.lost

    def close(self) -> None:
        self.is_closed = True
