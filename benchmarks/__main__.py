"""`python -m benchmarks`: compare the csm engine with `transformers.generate` at CSM-1B's full size on this machine."""

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
    """Start a candidate once alone: its first start compiles the model, which takes more memory than serving."""
    with Worker(candidate, plan) as worker:
        say(f"{candidate.name}: first start after {worker.ready['loaded_after']:.0f} s")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--work", type=Path, default=cache / "csm-bench", help="checkpoint and compiled models (6 GB)")
    parser.add_argument("--checkpoint", type=Path, help="folder of a checkpoint, instead of random weights")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for JSON and plot")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", help="of the csm engine")
    parser.add_argument("--streams", type=int, nargs="+", help="numbers of simultaneous streams")
    parser.add_argument("--frames", type=int, default=15, help="frames per stream and round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each candidate")
    parser.add_argument("--bandwidth", type=float, help="memory bandwidth in GB/s; measured if unset")
    return parser.parse_args()


if __name__ == "__main__":
    main()
