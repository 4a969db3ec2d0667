"""Run jobs on engines: simultaneous streams that are timed, or a greedy one for its codes."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from csm.audio.waveform import Waveform
from csm.engine.api import Engine
from csm.speech.voice import Voice, conversation
from csm.verify.speaking import greedy, real_time_factor, timeline

TRANSCRIPT = "The reference turn has words of its own, about as many as ten seconds of speech hold."
TEXT = "This sentence is what the cloned voice is asked to say."


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        streams: number of simultaneous streams.
        frames: of each stream.
        voices: seeds of the voices, one per stream; a seed that was used before is a cached voice.
        seconds: length of the reference audio.
    """

    streams: int
    frames: int
    voices: tuple[int, ...]
    seconds: float = 10.0


def voice(seed: int, seconds: float, rate: int) -> Voice:
    """Return noise as loud as speech; for the model, it is as much work as speech."""
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    return Voice(Waveform(samples, rate), TRANSCRIPT)


def run(engine: Engine, job: Job) -> dict[str, Any]:
    """Run all streams of a job at once; return a `summary`. An exception in one stream ends the job."""

    def call(stream: int) -> list[tuple[float, int]]:
        reference = voice(job.voices[stream], job.seconds, engine.info.sample_rate)
        return timeline(engine, conversation(reference, TEXT), stream, job.frames)

    with ThreadPoolExecutor(job.streams) as pool:
        return summary([*pool.map(call, range(job.streams))], engine.info.frame_rate)


def summary(lines: list[list[tuple[float, int]]], frame_rate: float) -> dict[str, Any]:
    """Compute rates from the first chunk of each stream to its last, so that the prefill is not counted.

    Raises:
        ValueError: a stream has fewer than two chunks.
    """
    factors = [real_time_factor(line, frame_rate) for line in lines]
    total = sum(n for line in lines for _, n in line)
    return {
        "first_audio": [line[0][0] for line in lines],
        "rtf": float(np.mean(factors)),
        "frames_per_second": total / max(line[-1][0] for line in lines),
        "frames": total,
    }


def spoken(engine: Engine, frames: int) -> list[list[int]]:
    """Return the first codes `[frames, codebooks]` that an engine generates greedily with three seconds of voice."""
    with contextlib.closing(engine):
        return greedy(engine, conversation(voice(0, 3.0, engine.info.sample_rate), TEXT), frames)
