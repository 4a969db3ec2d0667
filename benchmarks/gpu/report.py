"""Format the results of a run as tables and a plot; missing results are left out."""

from pathlib import Path
from typing import Any

from benchmarks.playback import arrivals
from benchmarks.report import table

FRAME_SECONDS = 0.08


def tables(content: dict[str, Any]) -> str:
    """Return tables in Markdown: stages, device, parity, streams, arrivals."""
    stages = content["stages"]
    parts = [table([{"stage": n, "seconds": s.get("seconds", ""), "status": s["status"]} for n, s in stages.items()])]
    for lines in (_device(stages), _parity(stages), _streams(stages), _arrivals(stages)):
        if lines:
            parts.append(table(lines))
    return "\n\n".join(parts)


def results(stages: dict[str, Any], stage: str) -> dict[str, Any]:
    """Return the results of one stage, or an empty dictionary if it did not run."""
    found: dict[str, Any] = stages.get(stage, {}).get("results", {})
    return found


def floor(stages: dict[str, Any], size: dict[str, float]) -> float | None:
    """Return the seconds that reading the bytes in `size` takes, at the bandwidth measured in the same run."""
    bandwidth = results(stages, "device").get("bandwidth", {}).get("median")
    return sum(size.values()) / bandwidth if bandwidth and size else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _range(spread: Any, factor: float = 1.0) -> str | None:
    """Return the median and the range as text, or why the measurement failed."""
    if not isinstance(spread, dict) or "median" not in spread:
        return str(spread["failed"]) if isinstance(spread, dict) and "failed" in spread else None
    median, low, high = (spread[name] * factor for name in ("median", "min", "max"))
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def _list(told: Any) -> list[Any]:
    """Return a list that a stage reported item by item, even if it did not finish."""
    told = told.get("told", []) if isinstance(told, dict) else told
    return told if isinstance(told, list) else []


def _device(stages: dict[str, Any]) -> list[dict[str, Any]]:
    look, graphs, speed = (results(stages, name) for name in ("device", "graphs", "speed"))
    hardware = look.get("hardware", {})
    facts: dict[str, Any] = {
        "device": hardware.get("gpu") or hardware.get("cpu"),
        "torch": hardware.get("torch"),
        "copy bandwidth, GB/s": _range(look.get("bandwidth"), 1e-9),
    }
    for told in (graphs, speed):
        rows = f"{told.get('rows')} rows"
        for step, seconds in told.get("start", {}).items():
            facts[f"start with {rows}, {step}, s"] = seconds
        for moment, memory in told.get("memory", {}).items():
            facts[f"memory in use with {rows}, {moment}, GB"] = memory["total"] - memory["free"]
        facts[f"graphs with {rows}"] = told.get("graphs")
        facts[f"notice with {rows}"] = told.get("notice")
    for name in ("graph", "eager", "plain"):
        facts[f"launches of a frame, {name}"] = graphs.get(name, {}).get("launches")
        facts[f"one frame, {name}, ms"] = _range(graphs.get(name, {}).get("seconds"), 1000)
    for kind in ("new", "cached"):
        facts[f"first audio, {kind} voice, s"] = _range(speed.get("first_audio", {}).get(kind))
    return [{"what": name, "value": value} for name, value in facts.items() if value is not None]


def _parity(stages: dict[str, Any]) -> list[dict[str, Any]]:
    told, lines = results(stages, "graphs"), []
    if each := _list(told.get("each")):
        same, worst = sum(one["codes"] == 1 for one in each), min(one["codes"] for one in each)
        error = max(one["error"] for one in each)
        outcome = f"{same} of {len(each)} give the same codes, the worst {worst:.0%} of them; error of what they write "
        lines.append({"parity": "graphs against eager frames", "outcome": f"{outcome}{error:.2g}"})
    for name, outcome in told.get("padded", {}).items():
        said = ", ".join(f"{k} {v:.3g}" for k, v in outcome.items()) if isinstance(outcome, dict) else outcome
        lines.append({"parity": f"3 streams in 4 rows, {name}", "outcome": said})
    for name, outcome in results(stages, "exact").items():
        equal = outcome.get("failed") or f"{outcome['equal']} of {outcome['frames']} frames equal"
        lines.append({"parity": f"float32 against transformers, {name}", "outcome": equal})
    return lines


def _streams(stages: dict[str, Any]) -> list[dict[str, Any]]:
    told, lines = results(stages, "speed"), []
    alternating = told.get("alternating", {})
    for streams, frame in told.get("frame", {}).items():
        run = told.get("streams", {}).get(streams, {})
        minimum, taken = floor(stages, frame.get("bytes", {})), frame.get("seconds", {}).get("median")
        lines.append(
            {
                "streams": streams,
                "RTF": run.get("rtf", run.get("failed", "not measured")),
                "frame alone, RTF": _scaled(taken, 1 / FRAME_SECONDS) or "",
                "floor, RTF": _scaled(minimum, 1 / FRAME_SECONDS) or "",
                "audio, s/s": _scaled(run.get("frames_per_second"), FRAME_SECONDS) or "",
            }
        )
    if "times" in alternating:
        ratio = alternating["times"]
        lines.append(
            {
                "streams": f"transformers, 1 stream: {ratio['median']:.1f} ({ratio['min']:.1f} to "
                f"{ratio['max']:.1f}) times slower, turn by turn",
                "RTF": sorted(alternating["transformers_rtf"])[len(alternating["transformers_rtf"]) // 2],
                "frame alone, RTF": "",
                "floor, RTF": "",
                "audio, s/s": "",
            }
        )
    return lines


def _arrivals(stages: dict[str, Any]) -> list[dict[str, Any]]:
    return arrivals(_list(results(stages, "load").get("rates")))


def plot(content: dict[str, Any], path: Path) -> None:
    """Draw RTF against streams, with the floor and `transformers`; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = content["stages"]
    told = results(stages, "speed")
    served = [(int(n), run["rtf"]) for n, run in told.get("streams", {}).items() if "rtf" in run]
    alone = [
        (int(n), f["seconds"]["median"] / FRAME_SECONDS) for n, f in told.get("frame", {}).items() if "seconds" in f
    ]
    floors = [(int(n), floor(stages, f["bytes"])) for n, f in told.get("frame", {}).items() if "bytes" in f]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for points, label in ((served, "served"), (alone, "the frame alone")):
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    known = [(n, seconds / FRAME_SECONDS) for n, seconds in floors if seconds]
    if known:
        axes.plot(*zip(*known, strict=True), linestyle="--", label="reading weights, keys and values once")
    if rtfs := told.get("alternating", {}).get("transformers_rtf"):
        axes.plot([1] * len(rtfs), rtfs, "x", label="transformers")
    axes.axhline(1.0, color="#888888", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="streams at once", ylabel="real-time factor of each (lower is faster)")
    axes.set_title(str(results(stages, "device").get("hardware", {}).get("gpu") or content["device"]))
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    figure.savefig(path, dpi=120)
