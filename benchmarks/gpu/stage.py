"""Run one stage in its own process: `python -m benchmarks.gpu.stage [options] NAME SECONDS [BEGAN]`."""

import argparse
import json
import os
import sys
import time
import traceback


def main() -> int:
    """Run the stage; write results to standard output as JSON lines, everything else to standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("seconds", type=float)
    parser.add_argument("began", type=float, nargs="?", default=time.time())
    parser.add_argument("--device", required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--streams", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # Only results may go to standard output, to which libraries print as well.
    os.dup2(2, 1)
    try:
        # Imported here, so that a missing package is reported as the reason of the failure.
        import torch

        from benchmarks.gpu.models import Models
        from benchmarks.gpu.notes import Notes
        from benchmarks.gpu.stages import STAGES, Effort

        models = Models(torch.device(args.device), args.tiny)
        effort = Effort(args.frames, tuple(args.streams), args.rounds, args.began)
        STAGES[args.name](models, effort, Notes(answers, args.seconds))
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip().splitlines() or ["no message"])[0]
        print(json.dumps(["failure", f"failed: {type(error).__name__}: {text}"]), file=answers)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Exit without waiting for the threads of an engine that hangs.
    os._exit(code)
