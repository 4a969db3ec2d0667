"""Write results as a table, a JSON file and a plot."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from benchmarks.pairs import Result
from csm.verify.report import hardware

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / 64}
READS_PER_FRAME = 4.553e9
"""Number of weights that one frame of CSM-1B reads; see docs/performance.md."""


def bandwidth() -> float:
    """Measure the memory bandwidth of the CPU in bytes per second, by reading 1 GB."""
    data = torch.ones(256_000_000)
    best = 0.0
    for _ in range(5):
        began = perf_counter()
        data.sum()
        best = max(best, data.nbytes / (perf_counter() - began))
    return best


def rows(results: list[Result], bytes_per_second: float) -> list[dict[str, Any]]:
    """Return one row of the table for each candidate."""
    table = []
    for result in results:
        cold, cached = (median(run["first_audio"][0] for run in runs) for runs in (result.cold, result.cached))
        runs = [*result.cold, *result.cached, *result.at_once.values()]
        weights = READS_PER_FRAME * BYTES[result.candidate.precision]
        table.append(
            {
                "engine": result.candidate.name,
                "RTF": median(run["rtf"] for run in result.cached),
                "floor": weights / bytes_per_second * 12.5,
                "times": result.speed_up,
                "cold s": cold,
                "cached s": cached,
                "GB": max(run["resident_gb"] for run in runs),
                "CUDA GB": max(run["cuda_peak_gb"] for run in runs),
                "load s": result.ready["loaded_after"],
            }
            | {f"x{n}": run["frames_per_second"] / 12.5 for n, run in result.at_once.items()}
        )
    return table


def table(lines: list[dict[str, Any]]) -> str:
    """Return the table as Markdown; `xN` is the total speed of N streams, in seconds of audio per second."""
    heads = list(lines[0])
    cells = [heads, ["---"] * len(heads)]
    cells += [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in line.values()] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def write(results: list[Result], lines: list[dict[str, Any]], folder: Path) -> None:
    """Write `bench.json`, with the results of every round, and `bench.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = {"hardware": hardware(), "table": lines, "results": [asdict(result) for result in results]}
    (folder / "bench.json").write_text(json.dumps(everything, indent=1))
    _plot(lines, folder / "bench.png")


def _plot(lines: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 1 + 0.6 * len(lines)), layout="constrained")
    names = [line["engine"] for line in lines]
    axes.barh(names, [line["RTF"] for line in lines], color="#4477aa", label="measured")
    axes.barh(names, [line["floor"] for line in lines], color="#ccbb44", height=0.3, label="reading the weights once")
    axes.axvline(1.0, color="#888888", linewidth=1)
    axes.set(xlabel="real-time factor, one stream (lower is faster; 1 is as fast as speech)")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120)
