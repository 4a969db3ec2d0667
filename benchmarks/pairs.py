"""Compare candidates with a reference: both are loaded and take turns, so that other load affects both."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One way to run the model.

    Attributes:
        engine: `csm` or `transformers`.
        precision: of the weights.
    """

    engine: str
    precision: str

    @property
    def name(self) -> str:
        """Name for tables."""
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        folder: of the checkpoint.
        cache: of compiled models.
        device: of torch.
        streams: numbers of simultaneous streams.
        frames: per stream and round.
        rounds: of each candidate.
    """

    folder: Path
    cache: Path
    device: str
    streams: tuple[int, ...]
    frames: int
    rounds: int


@dataclass
class Result:
    """Measurements of one candidate.

    Attributes:
        candidate: that was measured.
        ready: what its process reported after loading.
        cold: results with a new voice, one stream.
        cached: results with a cached voice, one stream.
        at_once: results by number of streams.
        reference: results of the reference, alternating with `cached`.
    """

    candidate: Candidate
    ready: dict[str, Any]
    cold: list[dict[str, Any]] = field(default_factory=list)
    cached: list[dict[str, Any]] = field(default_factory=list)
    at_once: dict[int, dict[str, Any]] = field(default_factory=dict)
    reference: list[dict[str, Any]] = field(default_factory=list)

    @property
    def speed_up(self) -> float:
        """Speed relative to the reference: the median of the ratios of adjacent runs."""
        pairs = zip(self.reference, self.cached, strict=True)
        ratios: list[float] = [theirs["rtf"] / ours["rtf"] for theirs, ours in pairs]
        return statistics.median(ratios)


class Worker:
    """A process that runs one engine.

    Args:
        candidate: the engine and its precision.
        plan: checkpoint, device and number of slots.
    """

    def __init__(self, candidate: Candidate, plan: Plan) -> None:
        slots = max(plan.streams) if candidate.engine == "csm" else 1
        options = {"engine": candidate.engine, "precision": candidate.precision, "device": plan.device}
        options |= {"folder": str(plan.folder), "cache": str(plan.cache), "slots": str(slots)}
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        command = [sys.executable, "-m", "benchmarks.worker", *flags]
        # As the server does (csm/speech/loading.py); the reference keeps the default.
        wait_policy = {"OMP_WAIT_POLICY": "PASSIVE"} if candidate.engine == "csm" else {}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | wait_policy
        )
        self.ready = self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def run(self, frames: int, voices: list[int]) -> dict[str, Any]:
        """Run one job, with one stream for each voice."""
        job = {"streams": len(voices), "frames": frames, "voices": voices}
        if self._process.stdin is None:
            raise RuntimeError("the worker has no standard input")
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"the worker ended with exit code {self._process.wait()}: its messages are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(candidate: Candidate, reference: Worker, plan: Plan) -> Result:
    """Measure one candidate, alternating with the reference."""
    with Worker(candidate, plan) as worker:
        result = Result(candidate, worker.ready)
        worker.run(frames=3, voices=[0])
        for turn in range(plan.rounds):
            result.reference.append(reference.run(plan.frames, [0]))
            result.cold.append(worker.run(plan.frames, [1 + turn]))
            result.cached.append(worker.run(plan.frames, [0]))
            say(f"{candidate.name}, round {turn + 1}: {result.speed_up:.2f} times the reference")
        for streams in plan.streams:
            result.at_once[streams] = worker.run(plan.frames, [0] * streams)
            say(f"{candidate.name}, {streams} at once: RTF {result.at_once[streams]['rtf']:.3f} each")
    return result


def say(message: str) -> None:
    """Print progress on standard error."""
    print(message, file=sys.stderr, flush=True)
