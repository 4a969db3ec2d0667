"""Run one engine in its own process, to measure its memory; read jobs and write results as JSON lines."""

import argparse
import contextlib
import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, sleep

import psutil
import torch

from benchmarks.streams import Job, run
from csm import memory_tuning
from csm.settings import load
from csm.speech.build import make_engine


class PeakMemory:
    """Measure the peak resident memory since the last call, and the peak CUDA memory since the start."""

    def __init__(self) -> None:
        self._resident = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def pop(self) -> dict[str, float]:
        """Return the peaks in GB, and start a new measurement of resident memory."""
        resident, self._resident = max(self._resident, self._now()), 0.0
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {"resident_gb": resident, "cuda_peak_gb": peak / 1e9}

    def _watch(self) -> None:
        while True:
            self._resident = max(self._resident, self._now())
            sleep(0.1)

    def _now(self) -> float:
        return float(psutil.Process().memory_info().rss) / 1e9


def main() -> None:
    """Load an engine, report that, then run jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("engine", "precision", "device", "folder", "cache", "slots"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    # Only results may go to standard output, to which libraries print as well.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    memory_tuning.configure_malloc()  # as the server does
    began = perf_counter()
    settings = load(
        None,
        model=args.folder,
        engine=args.engine,
        precision=args.precision,
        device=args.device,
        slots=int(args.slots),
        cache_dir=Path(args.cache),
        deadline_seconds=3600,
    )
    engine = make_engine(settings, Path(args.folder))
    ready = {"loaded_after": perf_counter() - began, "info": asdict(engine.info), "torch": torch.__version__}
    memory = PeakMemory()
    print(json.dumps(ready | memory.pop()), file=answers)
    with contextlib.closing(engine):
        for line in sys.stdin:
            job = json.loads(line)
            print(json.dumps(run(engine, Job(**job)) | memory.pop()), file=answers)


if __name__ == "__main__":
    main()
