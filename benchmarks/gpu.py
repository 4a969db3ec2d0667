"""`python -m benchmarks.gpu`: everything that needs a CUDA device, in one run of under ten minutes.

First parity with `transformers` in float32, on the demo and at full size; then the benchmark in the precision that
the device is served in. Arguments are those of `python -m benchmarks`.
"""

import torch

from benchmarks import __main__ as bench
from benchmarks.full_size import make
from benchmarks.parity import agree
from csm.model.hub import DEMO_FOLDER


def main() -> None:
    """Check, then measure; a difference in codes ends the run."""
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device: check nvidia-smi, and that torch is not a CPU build")
    args = bench.parse()
    folder = args.checkpoint or make(args.work / "full-size")
    if not (agree(DEMO_FOLDER, args.device, frames=50) and agree(folder, args.device, frames=10)):
        raise SystemExit("codes differ from transformers: no timings are taken of a wrong engine")
    bench.main()


if __name__ == "__main__":
    main()
