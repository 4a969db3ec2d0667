"""The stages of a run, in order of importance; each runs in its own process, so a failure affects only itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.gpu import device, parity
from benchmarks.gpu.models import Models
from benchmarks.gpu.notes import Notes, describe
from benchmarks.open_loop import Sweep, engine_client, sweep
from benchmarks.streams import Job, run, spoken, voice
from csm.engine.runtimes.cuda import CudaRuntime
from csm.errors import ModelUnavailable
from csm.model.checkpoint import open_checkpoint
from csm.model.hub import DEMO_FOLDER
from csm.speech.voice import conversation
from csm.verify.speaking import leading, timeline

PARITY_ROWS = 4
GREEDY_FRAMES = {"demo": 50, "random weights": 10}


@dataclass(frozen=True)
class Effort:
    """How much a run measures.

    Attributes:
        frames: of each stream that is timed.
        streams: numbers of simultaneous streams.
        rounds: in which the engines take turns.
        began: Unix time at which the process of the stage was started.
    """

    frames: int
    streams: tuple[int, ...]
    rounds: int
    began: float


def look(models: Models, effort: Effort, notes: Notes) -> None:
    """Describe the device and measure its copy bandwidth."""
    notes.tell("hardware", device.describe(models.device))
    notes.tell("seconds_to_device", time.time() - effort.began)
    notes.measure("bandwidth", lambda: device.bandwidth(models.device))


def graphs(models: Models, effort: Effort, notes: Notes) -> None:
    """Start with four rows, compare every graph with eager frames, time one frame and count its launches."""
    runtime, _ = _start(models, effort, notes, (PARITY_ROWS,))
    with notes.part("each"):
        compared: list[dict[str, Any]] = []
        for one in parity.graphs(runtime):
            compared.append(one)
            notes.tell("each", compared)
    length = min(512, runtime.positions)
    bench = parity.Bench(runtime, length)
    makers = {"graph": runtime.frame, "eager": bench.eager, "plain": bench.plain}
    frames = {name: partial(make, 1, length, 50) for name, make in makers.items()}
    bench.seat(1, 50)
    for name, frame in frames.items():
        with notes.part(name):
            taken = device.seconds(frame, models.device, min(effort.frames, 50))
            notes.tell(f"{name}.seconds", device.spread(taken))
    notes.measure("bytes", lambda: device.frame_bytes(runtime, 1, length))
    with notes.part("padded"):
        for name, agreement in parity.padded(runtime, length):
            notes.tell(f"padded.{name}", agreement)
    # Last, because the profiler ends the process with some drivers.
    for name, frame in frames.items():
        notes.measure(f"{name}.launches", partial(device.launches, frame, models.device))


def speed(models: Models, effort: Effort, notes: Notes) -> None:
    """Time streams, first audio and, alternating with the csm engine, `transformers`."""
    checkpoint, precision = models.checkpoint(), models.precision
    runtime, rows = _start(models, effort, notes, effort.streams)
    counts = [count for count in effort.streams if count <= rows]
    for streams in counts:
        notes.measure(f"frame.{streams}", lambda n=streams: _frame_alone(runtime, n, models, effort))
    engine = models.engine(checkpoint, runtime, precision, rows)
    began = time.monotonic()
    timeline(engine, conversation(voice(0, 10.0, engine.info.sample_rate), "Warm."), 0, 16)
    notes.tell("start.first_answer", time.monotonic() - began)
    notes.tell("memory.warm", device.memory(models.device))
    with notes.part("first_audio"):
        notes.tell("first_audio", _first_audio(engine, 2 * effort.rounds))
    with notes.part("alternating"):
        reference = models.reference(checkpoint, precision)
        run(reference, Job(1, 4, (0,)))
        ours, theirs = [], []
        for _ in range(effort.rounds):
            theirs.append(run(reference, Job(1, max(effort.frames // 5, 4), (0,)))["rtf"])
            ours.append(run(engine, Job(1, effort.frames, (0,)))["rtf"])
            ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
            told = {"csm_rtf": ours, "transformers_rtf": theirs, "times": device.spread(ratios)}
            notes.tell("alternating", told)
        reference.close()
    for streams in counts:
        with notes.part(f"streams.{streams}"):
            notes.tell(f"streams.{streams}", run(engine, Job(streams, effort.frames, (0,) * streams)))
    notes.tell("memory.served", device.memory(models.device))
    engine.close()


def exact(models: Models, effort: Effort, notes: Notes) -> None:
    """Compare greedy codes in float32 with those of `transformers`, for the demo model and for random weights."""
    # In reduced precision, matrix products of the two would differ although neither is wrong.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name, frames in GREEDY_FRAMES.items():
        with notes.part(name):
            checkpoint = open_checkpoint(DEMO_FOLDER) if name == "demo" else models.checkpoint()
            frames = min(frames, effort.frames)
            runtime = models.runtime(checkpoint, "float32", 1)
            ours = spoken(models.engine(checkpoint, runtime, "float32", 1), frames)
            del runtime
            device.release(models.device)
            theirs = spoken(models.reference(checkpoint, "float32"), frames)
            device.release(models.device)
            notes.tell(name, {"frames": len(theirs), "equal": leading(ours, theirs)})


def load(models: Models, effort: Effort, notes: Notes) -> None:
    """Send requests to the engine, without HTTP, at random times and increasing rates."""
    checkpoint, slots = models.checkpoint(), min(16, max(effort.streams))
    runtime = models.runtime(checkpoint, models.precision, slots)
    engine = models.engine(checkpoint, runtime, models.precision, slots)
    timeline(engine, conversation(voice(0, 3.0, engine.info.sample_rate), "Warm."), 0, 16)
    rates, seconds = ((8.0, 16.0), 1.0) if models.is_tiny else ((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), 8.0)
    plan = Sweep(rates, seconds, until=notes.seconds_left - 5)
    rows: list[dict[str, Any]] = []
    for row in sweep(engine_client(engine), plan, engine.info.sample_rate):
        rows.append(row)
        notes.tell("rates", rows)
    engine.close()


STAGES: Mapping[str, Callable[[Models, Effort, Notes], None]] = MappingProxyType(
    {"device": look, "graphs": graphs, "speed": speed, "exact": exact, "load": load}
)


def _start(models: Models, effort: Effort, notes: Notes, sizes: Sequence[int]) -> tuple[CudaRuntime, int]:
    """Build the runtime with as many rows as fit; record the time and memory that this takes."""
    notes.tell("start.imports", time.time() - effort.began)
    notes.tell("memory.before", device.memory(models.device))
    notes.tell("precision", models.precision)
    for rows in sorted(sizes, reverse=True):
        began = time.monotonic()
        try:
            runtime = models.runtime(models.checkpoint(), models.precision, rows)
        except (torch.OutOfMemoryError, ModelUnavailable) as error:
            notes.tell(f"out_of_memory.{rows}", describe(error))
        else:
            notes.tell("start.runtime", time.monotonic() - began)
            notes.tell("memory.started", device.memory(models.device))
            for name, value in {"rows": rows, "graphs": len(runtime.graphs), "notice": runtime.notice}.items():
                notes.tell(name, value)
            return runtime, rows
        device.release(models.device)
    raise RuntimeError("the device's memory does not hold the model")


def _frame_alone(runtime: CudaRuntime, streams: int, models: Models, effort: Effort) -> dict[str, Any]:
    """Time a frame of `streams` rows without the scheduler, and count the bytes that it must read."""
    length = min(512, runtime.positions)
    bench = parity.Bench(runtime, length)
    bench.seat(streams, 50)
    taken = device.seconds(lambda: runtime.frame(streams, length, 50), models.device, min(effort.frames, 50))
    return {"seconds": device.spread(taken), "bytes": device.frame_bytes(runtime, streams, length)}


def _first_audio(engine: Any, times: int) -> dict[str, Any]:
    """Measure the seconds to the first chunk, alternating between new voices and a cached one."""
    kinds: dict[str, list[float]] = {"new": [], "cached": []}
    for turn in range(times):
        for kind, seed in (("new", 1000 + turn), ("cached", 0)):
            said = conversation(voice(seed, 10.0, engine.info.sample_rate), "How long until this is heard?")
            kinds[kind].append(timeline(engine, said, turn, 3)[0][0])
    return {kind: device.spread(values) for kind, values in kinds.items()}
