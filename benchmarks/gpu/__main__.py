"""`python -m benchmarks.gpu`: measure the engine on this machine's GPU, in one run of eight minutes.

The stages run in separate processes, in order of importance, each with a time limit. A stage that fails, hangs or loses
the device is reported, and the next one starts. `gpu.json` is written after every result. No weights are downloaded:
the model has CSM-1B's exact size and random weights, created on the device.

In addition to torch>=2.11, numpy, safetensors and tokenizers with their dependencies, it needs transformers>=5.21.1,
regex, pydantic-settings>=2.6 with its dependencies (pydantic, pydantic-core, annotated-types, typing-inspection), and
python-dotenv>=1.0: 17 MB of wheels, and 33 MB of repository. The plot needs matplotlib; if that is missing,
`--plot gpu.json` draws it later.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import torch

from benchmarks.gpu import report
from benchmarks.gpu.runner import Report, Runner, stage_command

LIMITS = {"device": 60.0, "graphs": 120.0, "speed": 180.0, "exact": 100.0, "load": 130.0}
"""The stages (`benchmarks.gpu.stages`) in order of importance, and the time limit of each in seconds."""


def main() -> None:
    """Run the stages, print the tables and draw the plot."""
    args = parse()
    if args.plot:
        report.plot(json.loads(args.plot.read_text()), args.plot.with_suffix(".png"))
        return
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device: check nvidia-smi, and that torch is not a CPU build")
    began = monotonic()
    head = {"command": " ".join(sys.argv), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    record = Report(
        args.out / "gpu.json", head | {"device": args.device, "tiny": args.tiny, "torch": torch.__version__}
    )
    options = ["--frames", str(args.frames), "--rounds", str(args.rounds)]
    options += ["--streams", *map(str, args.streams), *(["--tiny"] if args.tiny else []), "--"]
    runner = Runner(record, args.seconds, stage_command(args.device, options))
    for name, limit in LIMITS.items():
        if name in args.stages:
            status = runner.run(name, limit)
            print(f"{name}: {status}, after {monotonic() - began:.0f} s in all", file=sys.stderr, flush=True)
    record.content["seconds"] = round(monotonic() - began, 1)
    record.save()
    print(report.tables(record.content), flush=True)
    try:
        report.plot(record.content, record.path.with_suffix(".png"))
    except Exception as error:
        print(f"no plot ({type(error).__name__}: {error}); draw it later with --plot {record.path}", file=sys.stderr)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0", help="name of the device in torch")
    parser.add_argument("--seconds", type=float, default=460, help="time limit of all stages together")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for gpu.json and gpu.png")
    parser.add_argument("--frames", type=int, default=125, help="frames of each stream that is timed")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the engines take turns")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16, 64], help="simultaneous streams")
    parser.add_argument("--stages", nargs="+", choices=LIMITS, default=list(LIMITS), help="stages to run; all if unset")
    parser.add_argument("--tiny", action="store_true", help="use a tiny model; with --device cpu, a dry run")
    parser.add_argument("--plot", type=Path, metavar="JSON", help="only draw the plot of an earlier run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
