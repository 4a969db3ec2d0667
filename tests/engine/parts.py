"""Engines that tests can drive by hand or break on purpose, from outside."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Waveform
from csm.engine.api import Chunk, EngineInfo, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.request import Generation
from csm.errors import CsmError
from csm.model.conversation import Conversation, Tokenizer, Turn

SAMPLING = Sampling(seed=1)

CALLS = ("encode", "load_prefix", "prefill", "save_prefix", "join", "move", "step")
"""What a scheduler asks of a runtime."""


def voice(number: int, samples: int = 8_000) -> Waveform:
    return Waveform(0.1 * np.random.default_rng(number).standard_normal(samples).astype(np.float32), 24_000)


def said(text: str, speaker: int = 0, transcript: str = "Heard.") -> Conversation:
    return Conversation((Turn("0", transcript, voice(speaker)), Turn("0", text)))


@dataclass(frozen=True)
class Request:
    """Something to say; the same each time."""

    text: str = "Say this."
    speaker: int = 0
    sampling: Sampling = SAMPLING
    frames: int = 6

    def start(self, engine: Any, gone: Callable[[], bool] = lambda: False) -> Generation:
        return engine.generate(said(self.text, self.speaker), self.sampling, self.frames, gone)

    def run(self, engine: Any) -> list[Chunk]:
        return list(self.start(engine))


class Stepped(CsmEngine):
    """An engine without a loop of its own: tests call `step`."""

    def _run(self) -> None:
        return

    def step(self) -> None:
        self._scheduler.step()

    def run_dry(self, most: int = 1000) -> int:
        """Step until nobody is left; the number of steps."""
        for taken in range(most):
            if not self._scheduler.has_work:
                return taken
            self.step()
        raise AssertionError(f"still busy after {most} steps")


@dataclass
class Engines:
    """Makes engines and closes them."""

    runtime: Any
    tokenizer: Tokenizer
    made: list[CsmEngine] = field(default_factory=list)

    def __call__(
        self,
        kind: type[CsmEngine] = CsmEngine,
        runtime: Any = None,
        slots: int = 4,
        voice_bytes: int = 10**8,
        patience: float = 60.0,
    ) -> Any:
        info = EngineInfo("csm", "cpu", "float32", slots, 24_000, 12.5)
        self.made.append(kind(runtime or self.runtime, info, self.tokenizer, voice_bytes, patience))
        return self.made[-1]

    def close(self) -> None:
        for engine in self.made:
            engine.close()


class Watched:
    """A runtime that notes every call, and does something at it first.

    Args:
        runtime: the real one.
        at: called with the number of the call, from 1, and its name; may raise, or wait.
    """

    def __init__(self, runtime: Any, at: Callable[[int, str], None] = lambda number, name: None) -> None:
        self._runtime, self._at = runtime, at
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._runtime, name)
        if name not in CALLS:
            return found

        def noted(*arguments: Any) -> Any:
            with self._lock:
                self.calls.append((name, arguments))
                number = len(self.calls)
            self._at(number, name)
            return found(*arguments)

        return noted

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)

    @property
    def positions_read(self) -> int:
        """Over all prefills."""
        return sum(len(arguments[0]) for name, arguments in self.calls if name == "prefill")


def codes(chunks: list[Chunk]) -> NDArray[np.int64]:
    return np.concatenate([chunk.codes for chunk in chunks])


def samples(chunks: list[Chunk]) -> NDArray[np.float32]:
    return np.concatenate([chunk.samples for chunk in chunks])


def handed_over(generation: Generation, patience: float = 30) -> tuple[list[Chunk], CsmError | None]:
    """What lies ready for a reader that may have gone: the chunks, and how it ended."""
    chunks: list[Chunk] = []
    while True:
        try:
            item = generation._chunks.get(timeout=patience)
        except queue.Empty:
            raise AssertionError("the generation was never finished") from None
        if not isinstance(item, Chunk):
            return chunks, item
        chunks.append(item)


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not true within {seconds} seconds"
        time.sleep(0.005)
