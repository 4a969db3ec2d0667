"""Engines that tests step by hand or break on purpose."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from csm.audio.waveform import Waveform
from csm.engine.api import Chunk, EngineInfo, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import Placement
from csm.engine.request import Generation
from csm.model.conversation import Conversation, Tokenizer, Turn

CPU = Placement(torch.device("cpu"), "float32")
SAMPLING = Sampling(seed=1)

CALLS = ("encode", "load_prefix", "prefill", "save_prefix", "join", "move", "save_row", "step")
"""The methods of a runtime that a scheduler calls."""


def voice(number: int, samples: int = 8_000) -> Waveform:
    """Return noise that stands for a voice; each number is another one."""
    return Waveform(0.1 * np.random.default_rng(number).standard_normal(samples).astype(np.float32), 24_000)


def make_conversation(text: str, speaker: int = 0, transcript: str = "Heard.") -> Conversation:
    """Return a conversation of a voice with its transcript, then a text to say."""
    return Conversation((Turn("0", transcript, voice(speaker)), Turn("0", text)))


@dataclass(frozen=True)
class Request:
    """A text for an engine; the same request gets the same answer each time."""

    text: str = "Say this."
    speaker: int = 0
    sampling: Sampling = SAMPLING
    frames: int = 6

    def start(self, engine: Any, is_disconnected: Callable[[], bool] = lambda: False) -> Generation:
        """Begin a generation."""
        said = make_conversation(self.text, self.speaker)
        return cast(Generation, engine.generate(said, self.sampling, self.frames, is_disconnected))

    def run(self, engine: Any) -> list[Chunk]:
        """Generate to the end."""
        return list(self.start(engine))


class SteppedEngine(CsmEngine):
    """An engine without a thread: tests call `step`."""

    def _run(self) -> None:
        return

    def step(self) -> None:
        """Make one step of the scheduler."""
        self._scheduler.step()

    def run_dry(self, max_steps: int = 1000) -> int:
        """Step until no work is left; return the number of steps."""
        for taken in range(max_steps):
            if not self._scheduler.has_work:
                return taken
            self.step()
        raise AssertionError(f"still busy after {max_steps} steps")


@dataclass
class EngineFactory:
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
        """Make an engine; see `CsmEngine`."""
        info = EngineInfo("csm", "cpu", "float32", slots, 24_000, 12.5)
        self.made.append(kind(runtime or self.runtime, info, self.tokenizer, voice_bytes, patience))
        return self.made[-1]

    def close(self) -> None:
        """Close all engines that were made."""
        for engine in self.made:
            engine.close()


class RecordingRuntime:
    """A runtime that records every call and runs a hook before it.

    Args:
        runtime: does the work.
        before: called with the number of the call, from 1, and its name; may raise or wait.
    """

    def __init__(self, runtime: Any, before: Callable[[int, str], object] = lambda number, name: None) -> None:
        self._runtime, self._before = runtime, before
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._runtime, name)
        if name not in CALLS:
            return found

        def recorded(*arguments: Any) -> Any:
            with self._lock:
                self.calls.append((name, arguments))
                number = len(self.calls)
            self._before(number, name)
            return found(*arguments)

        return recorded

    def count(self, name: str) -> int:
        """Return how often a method was called."""
        return sum(called == name for called, _ in self.calls)

    @property
    def positions_read(self) -> int:
        """Positions of all prefills together."""
        return sum(len(arguments[0]) for name, arguments in self.calls if name == "prefill")


def codes(chunks: list[Chunk]) -> NDArray[np.int64]:
    """Return the codes of all chunks, [frames, codebooks]."""
    return np.concatenate([chunk.codes for chunk in chunks])


def samples(chunks: list[Chunk]) -> NDArray[np.float32]:
    """Return the samples of all chunks."""
    return np.concatenate([chunk.samples for chunk in chunks])


def collect(generation: Generation, patience: float = 30) -> tuple[list[Chunk], BaseException | None]:
    """Return the chunks of a generation, even of one that was closed, and the error that ended it."""
    chunks: list[Chunk] = []
    while True:
        try:
            item = generation._chunks.get(timeout=patience)
        except queue.Empty:
            raise AssertionError("the generation was never finished") from None
        if not isinstance(item, Chunk):
            return chunks, item
        chunks.append(item)
