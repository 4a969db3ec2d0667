"""`python -m benchmarks`: our engine against `transformers.generate` at CSM-1B's full size, on this machine."""

import argparse
import os
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.full_size import make
from benchmarks.pairs import Candidate, Plan, Worker, compare, say

REFERENCE = {"cpu": "float32", "cuda": "bfloat16"}


def main() -> None:
    """Measure all candidates, print the table, and write the JSON file and the plot."""
    args = parse()
    kind = args.device.partition(":")[0]
    default_streams = [1, 8, 16, 32, 64] if kind == "cuda" else [1, 2, 4]
    precisions = args.precision or (["bfloat16"] if kind == "cuda" else ["float32", "int8", "int4"])
    folder = args.checkpoint or make(args.work / "full-size")
    streams = tuple(args.streams or default_streams)
    plan = Plan(folder, args.work / "compiled", args.device, streams, args.frames, args.rounds)
    for precision in precisions:
        prepare(Candidate("csm", precision), plan)
    say("loading the reference")
    with Worker(Candidate("transformers", REFERENCE[kind]), plan) as reference:
        reference.run(frames=3, voices=[0])
        results = [compare(Candidate("csm", precision), reference, plan) for precision in precisions]
    lines = report.rows(results, args.bandwidth * 1e9 if args.bandwidth else report.bandwidth())
    print(report.hardware())
    print(report.table(lines))
    report.write(results, lines, args.out)


def prepare(candidate: Candidate, plan: Plan) -> None:
    """Start a candidate once while memory is free: its first start compiles, which takes more memory than serving."""
    with Worker(candidate, plan) as worker:
        say(f"{candidate.name}: first start after {worker.ready['loaded_after']:.0f} s")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--work", type=Path, default=cache / "csm-bench", help="checkpoint and compiled models (6 GB)")
    parser.add_argument("--checkpoint", type=Path, help="a real one instead of random weights")
    parser.add_argument("--out", type=Path, default=Path("results"), help="where JSON and plot go")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", help="of the csm engine")
    parser.add_argument("--streams", type=int, nargs="+", help="callers at once")
    parser.add_argument("--frames", type=int, default=15, help="per stream and turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--bandwidth", type=float, help="of the memory in GB/s, where it is known better than measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
