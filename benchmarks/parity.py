"""`python -m benchmarks.parity`: compare greedy codes of the csm engine and `transformers.generate` in float32."""

import argparse
from pathlib import Path

import torch

from benchmarks.pairs import say
from benchmarks.streams import spoken
from csm.model.hub import DEMO_FOLDER
from csm.settings import load
from csm.speech.build import make_engine
from csm.verify.speaking import leading


def codes(engine: str, folder: Path, device: str, frames: int) -> list[list[int]]:
    """Return the first frames `[frames, codebooks]` that an engine generates greedily with three seconds of voice."""
    say(f"{engine} on {device}: {folder.name}")
    settings = load(
        None, model=str(folder), engine=engine, precision="float32", device=device, slots=1, deadline_seconds=3600
    )
    return spoken(make_engine(settings, folder), frames)


def agree(folder: Path, device: str, frames: int) -> bool:
    """Compare the codes of both engines and print the result; return whether all are equal."""
    # In reduced precision, matrix products of the two would differ although neither is wrong.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    ours, theirs = (codes(engine, folder, device, frames) for engine in ("csm", "transformers"))
    same = leading(ours, theirs)
    print(f"{folder.name}: {same} of {frames} frames equal, code for code", flush=True)
    return same == frames


def main() -> None:
    """Compare both engines; exit with status 1 if codes differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=DEMO_FOLDER, help="a folder; the demo by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frames", type=int, default=50)
    args = parser.parse_args()
    raise SystemExit(not agree(args.checkpoint, args.device, args.frames))


if __name__ == "__main__":
    main()
