"""`python -m benchmarks.runtimes`: measure how fast CPU runtimes read weights, which explains the server's choice.

All runtimes compute the same stack of matrix products, in turns in one process. OpenVINO is also measured with all 31
steps of a frame in one call, which shows the cost of a call. ONNX Runtime is included after
`pip install onnxruntime onnxscript`.
"""

import argparse
import contextlib
import copy
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import nncf
import numpy as np
import torch

from benchmarks.pairs import say
from benchmarks.report import bandwidth, hardware, table
from benchmarks.stack import (
    GROUP,
    Call,
    Int4Linear,
    Int8Linear,
    Sizes,
    Stack,
    dynamic_int8,
    eager,
    onnx_float,
    onnx_int8,
    onnxruntime,
    onnxruntime_blocks,
    openvino,
    swapped,
)

STEPS = 31


@dataclass(frozen=True)
class Runtime:
    """One way to run a stack.

    Attributes:
        name: for the table.
        bytes: of a weight, with its share of the scales.
        build: returns the call for a stack, which it may modify.
        steps: numbers of steps per call to measure.
    """

    name: str
    bytes: float
    build: Callable[[Stack], Call]
    steps: tuple[int, ...] = (1,)


def runtimes() -> list[Runtime]:
    """Return all runtimes; the others are compared with the first."""
    four, both = 0.5 + 2 / GROUP, (1, STEPS)
    return [
        Runtime("torch float32", 4, eager),
        Runtime("torch bfloat16", 2, partial(eager, dtype=torch.bfloat16)),
        Runtime("torch int8, dynamic (FBGEMM)", 1, partial(dynamic_int8, library="fbgemm")),
        Runtime("torch int8, dynamic (oneDNN)", 1, partial(dynamic_int8, library="onednn")),
        Runtime("torch int8, weights only", 1, partial(swapped, product=Int8Linear)),
        Runtime("torch int4, weights only", 0.5 + 8 / GROUP, partial(swapped, product=Int4Linear)),
        Runtime("OpenVINO float32", 4, partial(openvino, precision="float32"), both),
        Runtime("OpenVINO int8, weights only", 1, partial(openvino, precision="int8"), both),
        Runtime("OpenVINO int8, dynamic", 1, partial(openvino, precision="int8", activations=32), both),
        Runtime("OpenVINO int4, weights only", four, partial(openvino, precision="int4"), both),
        Runtime("OpenVINO int4, dynamic", four, partial(openvino, precision="int4", activations=32), both),
        Runtime("ONNX Runtime float32", 4, partial(onnxruntime, quantise=onnx_float)),
        Runtime("ONNX Runtime int8, dynamic", 1, partial(onnxruntime, quantise=onnx_int8)),
        Runtime("ONNX Runtime int8, dynamic, in groups", 1 + 4 / GROUP, partial(onnxruntime_blocks, bits=8, level=4)),
        Runtime("ONNX Runtime int4, weights only", 0.5 + 4 / GROUP, partial(onnxruntime_blocks, bits=4, level=1)),
        Runtime("ONNX Runtime int4, dynamic", 0.5 + 4 / GROUP, partial(onnxruntime_blocks, bits=4, level=4)),
    ]


@dataclass(frozen=True, eq=False)
class Entry:
    """A runtime that is ready, and its measurements.

    Attributes:
        runtime: that is measured.
        steps: per call.
        call: runs the stack.
        error: relative root mean square of the first step's logits against torch float32.
        seconds: per step, in each round.
    """

    runtime: Runtime
    steps: int
    call: Call
    error: float
    seconds: list[float] = field(default_factory=list)


def prepare(stack: Stack, x: np.ndarray, chosen: list[Runtime]) -> tuple[list[Entry], list[str]]:
    """Build the runtimes; return those that work, and the reasons why others do not."""
    ready, skipped, exact = [], [], eager(copy.deepcopy(stack))(x)
    for runtime in chosen:
        for steps in runtime.steps:
            say(f"preparing {runtime.name}, steps a call: {steps}")
            own = copy.deepcopy(stack)
            own.steps = steps
            try:
                call = runtime.build(own)
                ready.append(Entry(runtime, steps, call, relative_error(call(x)[:, :1], exact)))
            except (ImportError, AttributeError, RuntimeError) as reason:
                skipped.append(f"{runtime.name}, steps a call: {steps}: not measured: {reason}")
    return ready, skipped


def relative_error(values: np.ndarray, exact: np.ndarray) -> float:
    """Return the root mean square of the difference, relative to that of the exact values."""
    return float(np.linalg.norm(values - exact) / np.linalg.norm(exact))


def take_turns(ready: list[Entry], x: np.ndarray, rounds: int) -> None:
    """Time 31 steps of each runtime in every round."""
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for entry in ready:
            # Threads of the previous runtime may still be spinning.
            time.sleep(0.02)
            calls = STEPS // entry.steps
            began = time.perf_counter()
            for _ in range(calls):
                entry.call(x)
            entry.seconds.append((time.perf_counter() - began) / (calls * entry.steps))


def row(entry: Entry, first: Entry, weights: int) -> dict[str, Any]:
    """Return a row of the table; `times` is the median speed relative to the first runtime."""
    seconds = median(entry.seconds)
    return {
        "runtime": entry.runtime.name,
        "steps a call": entry.steps,
        "ms a step": seconds * 1e3,
        "least": min(entry.seconds) * 1e3,
        "G weights/s": weights / seconds / 1e9,
        "GB/s": weights * entry.runtime.bytes / seconds / 1e9,
        "error": entry.error,
        "times": median(theirs / ours for theirs, ours in zip(first.seconds, entry.seconds, strict=True)),
    }


def main() -> None:
    """Build and time the runtimes, print a table, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layers", type=int, default=Sizes.layers, help="fewer for a quick run")
    parser.add_argument("--only", default="", help="only runtimes with this in their name, and torch float32")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the JSON file")
    args = parser.parse_args()
    torch.manual_seed(0)
    stack = Stack(Sizes(layers=args.layers))
    x = np.random.default_rng(0).normal(size=stack.shape).astype(np.float32)
    exact, *others = runtimes()
    chosen = [exact, *(other for other in others if args.only in other.name)]
    # Only the table may go to standard output, to which libraries print as well.
    nncf.set_log_level(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        ready, skipped = prepare(stack, x, chosen)
    take_turns(ready, x, args.rounds)
    lines = [row(entry, ready[0], stack.weights) for entry in ready]
    machine = hardware() | {"read GB/s": bandwidth() / 1e9, "weights": stack.weights}
    print(machine, table(lines), *skipped, sep="\n")
    rounds = [{"runtime": e.runtime.name, "steps": e.steps, "seconds": e.seconds} for e in ready]
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"hardware": machine, "table": lines, "skipped": skipped, "rounds": rounds}
    (args.out / "runtimes.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
