"""What engines are asked to say here: many streams at once, timed, or one greedily, for its codes."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Waveform
from csm.engine.api import Engine, Sampling
from csm.model.conversation import Conversation
from csm.speech.voice import Voice, conversation

TRANSCRIPT = "The reference turn has words of its own, about as many as ten seconds of speech hold."
TEXT = "This sentence is what the cloned voice is asked to say."


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        streams: callers at once.
        frames: each of them asks for.
        voices: seeds of the references, one per stream; a seed heard before is a cached voice.
        seconds: of each reference.
    """

    streams: int
    frames: int
    voices: tuple[int, ...]
    seconds: float = 10.0


def voice(seed: int, seconds: float, rate: int) -> Voice:
    """Make noise in the loudness of speech: the model works as hard on it as on words."""
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    return Voice(Waveform(samples, rate), TRANSCRIPT)


def timeline(engine: Engine, said: Conversation, seed: int, frames: int) -> list[tuple[float, int]]:
    """Return when each chunk came, in seconds since the call, and how many frames it had."""
    never: Callable[[], bool] = lambda: False  # noqa: E731
    began = perf_counter()
    chunks = engine.generate(said, Sampling(seed), frames, never)
    return [(perf_counter() - began, len(chunk.codes)) for chunk in chunks]


def run(engine: Engine, job: Job) -> dict[str, Any]:
    """Serve all streams of a job at once; what one of them raises ends the job."""

    def call(stream: int) -> list[tuple[float, int]]:
        reference = voice(job.voices[stream], job.seconds, engine.info.sample_rate)
        return timeline(engine, conversation(reference, TEXT), stream, job.frames)

    with ThreadPoolExecutor(job.streams) as pool:
        return summary([*pool.map(call, range(job.streams))], engine.info.frame_rate)


def summary(lines: list[list[tuple[float, int]]], frame_rate: float) -> dict[str, Any]:
    """Compute rates from each stream's first chunk to its last, so that reading the prompt is not counted.

    Raises:
        RuntimeError: a stream has fewer than two chunks.
    """
    if any(len(line) < 2 for line in lines):
        raise RuntimeError("a stream ended before its second chunk: ask for more frames")
    steady = [(line[-1][0] - line[0][0]) / sum(n for _, n in line[1:]) for line in lines]
    total = sum(n for line in lines for _, n in line)
    return {
        "first_audio": [line[0][0] for line in lines],
        "rtf": float(np.mean(steady) * frame_rate),
        "frames_per_second": total / max(line[-1][0] for line in lines),
        "frames": total,
    }


def spoken(engine: Engine, frames: int) -> NDArray[np.int64]:
    """Return the first codes `[frames, codebooks]` that an engine says greedily in a voice of three seconds."""
    never: Callable[[], bool] = lambda: False  # noqa: E731
    said = conversation(voice(0, 3.0, engine.info.sample_rate), TEXT)
    with contextlib.closing(engine):
        chunks = [chunk.codes for chunk in engine.generate(said, Sampling(0, temperature=0.0), frames, never)]
    return np.concatenate(chunks) if chunks else np.zeros((0, 0), np.int64)


def leading(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> int:
    """Count the frames before the first that differs in any code."""
    shared = min(len(ours), len(theirs))
    return int((ours[:shared] == theirs[:shared]).all(axis=1).cumprod().sum()) if shared else 0
