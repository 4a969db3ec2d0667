"""One engine in a process of its own, so that its memory is its own; takes jobs as JSON lines, answers likewise."""

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import psutil
import torch

from csm import heap
from csm.audio.waveform import Waveform
from csm.engine.api import Engine, Sampling
from csm.model.conversation import Conversation
from csm.settings import load
from csm.speech.build import make_engine
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
    """Noise in the loudness of speech: the model works as hard on it as on words."""
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    return Voice(Waveform(samples, rate), TRANSCRIPT)


def timeline(engine: Engine, said: Conversation, seed: int, frames: int) -> list[tuple[float, int]]:
    """When each chunk came, in seconds since the call, and how many frames it had."""
    never: Callable[[], bool] = lambda: False  # noqa: E731
    began = perf_counter()
    chunks = engine.generate(said, Sampling(seed), frames, never)
    return [(perf_counter() - began, len(chunk.codes)) for chunk in chunks]


def run(engine: Engine, job: Job) -> dict[str, Any]:
    """All streams of a job at once."""
    rate = engine.info.sample_rate
    lines: list[list[tuple[float, int]]] = [[] for _ in range(job.streams)]

    def call(stream: int) -> None:
        said = conversation(voice(job.voices[stream], job.seconds, rate), TEXT)
        lines[stream] = timeline(engine, said, stream, job.frames)

    threads = [threading.Thread(target=call, args=(stream,)) for stream in range(job.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return summary(lines, engine.info.frame_rate)


def summary(lines: list[list[tuple[float, int]]], frame_rate: float) -> dict[str, Any]:
    """Rates from the first chunk of the slowest start to the last of all, so that reading the prompt is not counted."""
    if any(len(line) < 2 for line in lines):
        raise SystemExit("a stream ended before its second chunk: ask for more frames")
    steady = [(line[-1][0] - line[0][0]) / sum(n for _, n in line[1:]) for line in lines]
    total = sum(n for line in lines for _, n in line)
    return {
        "first_audio": [line[0][0] for line in lines],
        "rtf": float(np.mean(steady) * frame_rate),
        "frames_per_second": total / max(line[-1][0] for line in lines),
        "frames": total,
    }


class Memory:
    """The most that this process had resident since it was last asked, in GB, and on CUDA at all."""

    def __init__(self) -> None:
        self._most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def most(self) -> dict[str, float]:
        """As of now; then it counts anew."""
        most, self._most = max(self._most, self._now()), 0.0
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {"resident_gb": most, "cuda_peak_gb": peak / 1e9}

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._now())
            sleep(0.1)

    def _now(self) -> float:
        return float(psutil.Process().memory_info().rss) / 1e9


def main() -> None:
    """Load an engine, say so, then answer jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("engine", "precision", "device", "folder", "cache", "slots"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    # Nothing else may write where the answers go.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    heap.keep_small()  # as the server does
    began = perf_counter()
    settings = load(
        None,
        model=args.folder,
        engine=args.engine,
        precision=args.precision,
        device=args.device,
        slots=int(args.slots),
        cache_dir=Path(args.cache),
        deadline_seconds=3600,
    )
    engine = make_engine(settings, Path(args.folder))
    ready = {"loaded_after": perf_counter() - began, "info": asdict(engine.info), "torch": torch.__version__}
    memory = Memory()
    print(json.dumps(ready | memory.most()), file=answers)
    with contextlib.closing(engine):
        for line in sys.stdin:
            job = json.loads(line)
            print(json.dumps(run(engine, Job(**job)) | memory.most()), file=answers)


if __name__ == "__main__":
    main()
