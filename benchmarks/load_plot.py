"""`python -m benchmarks.load_plot results/load.json [load.png]`: draw the results of `benchmarks.load`.

It needs matplotlib.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, YELLOW, RED, GREY = "#4477aa", "#ccbb44", "#ee6677", "#888888"
SECONDS_PER_FRAME = 0.08


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw first audio and outcomes by rate and, if they were recorded, the server's metrics over time.

    Args:
        result: what `benchmarks.load` wrote.
        path: of the image; its suffix chooses the format.
    """
    from matplotlib.figure import Figure

    rows, scrapes = result["rates"], result.get("metrics", [])
    figure = Figure(figsize=(9, 7.5 if scrapes else 4), layout="constrained")
    if scrapes:
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.2])
        _over_time(scrapes, rows, *lower.subplots(2, 1, sharex=True))
    else:
        upper = figure
    _by_rate(rows, *upper.subplots(1, 2))
    figure.suptitle(result["hardware"].get("cpu", ""), fontsize="small")
    figure.savefig(path, dpi=120)


def _by_rate(rows: list[dict[str, Any]], delays: "Axes", outcomes: "Axes") -> None:
    """Draw the delay until the first audio, and what became of the requests."""
    rates = [row["rate"] for row in rows]
    for part, colour in (("p50", BLUE), ("p95", YELLOW), ("p99", RED)):
        delays.plot(rates, [row["audible_s"].get(part) for row in rows], "o-", color=colour, label=part)
    delays.set(xlabel="requests a second", ylabel="first audio, s", ylim=(0, None))
    delays.legend()
    left = [0] * len(rows)
    clean = [row["played"] - row["interrupted"] for row in rows]
    parts = [("played without a gap", clean, BLUE), ("with a gap", [row["interrupted"] for row in rows], YELLOW)]
    parts += [("refused", [row["refused"] for row in rows], GREY), ("failed", [row["failed"] for row in rows], RED)]
    for name, values, colour in parts:
        outcomes.bar([f"{rate:g}" for rate in rates], values, bottom=left, color=colour, label=name)
        left = [below + value for below, value in zip(left, values, strict=True)]
    outcomes.set(xlabel="requests a second", ylabel="requests")
    outcomes.legend()


def _over_time(scrapes: list[dict[str, float]], rows: list[dict[str, Any]], work: "Axes", speed: "Axes") -> None:
    """Draw what the server said of itself, with a line where each rate begins."""
    times = [scrape["at"] for scrape in scrapes]
    running, waiting = ([scrape[f"csm_num_requests_{what}"] for scrape in scrapes] for what in ("running", "waiting"))
    work.stackplot(times, running, waiting, labels=["running", "waiting"], colors=[BLUE, YELLOW], step="post")
    work.set(ylabel="requests")
    work.legend(loc="upper left")
    audio = [
        (after["csm_audio_frames_total"] - before["csm_audio_frames_total"]) * SECONDS_PER_FRAME
        / (after["at"] - before["at"])
        for before, after in pairwise(scrapes)
    ]  # fmt: skip
    speed.step(times[1:], audio, color=BLUE, where="pre")
    speed.set(xlabel="seconds", ylabel="audio generated,\nseconds a second", ylim=(0, None))
    for row in rows:
        for axes in (work, speed):
            axes.axvline(row["began_s"], color=GREY, linewidth=0.7, linestyle=":")
        work.annotate(f"{row['rate']:g}/s", (row["began_s"], 1.03), xycoords=("data", "axes fraction"))


def main() -> None:
    """Draw a file that was written before."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    source = Path(sys.argv[1])
    draw(json.loads(source.read_text()), Path(sys.argv[2]) if len(sys.argv) == 3 else source.with_suffix(".png"))


if __name__ == "__main__":
    main()
