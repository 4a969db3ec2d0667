"""One engine in its own process, so that its memory can be measured; reads jobs and writes results as JSON lines."""

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


class Memory:
    """Peak resident memory in GB since the last call, and peak CUDA memory since the start."""

    def __init__(self) -> None:
        self._most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def most(self) -> dict[str, float]:
        """Return the maximum until now, and start a new one."""
        most, self._most = max(self._most, self._now()), 0.0
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {"resident_gb": most, "cuda_peak_gb": peak / 1e9}

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._now())
            sleep(0.1)

    def _now(self) -> float:
        return float(psutil.Process().memory_info().rss) / 1e9


def main() -> None:
    """Load an engine, say so, then answer jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("engine", "precision", "device", "folder", "cache", "slots"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    # Nothing else may write where the answers go.
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
    memory = Memory()
    print(json.dumps(ready | memory.most()), file=answers)
    with contextlib.closing(engine):
        for line in sys.stdin:
            job = json.loads(line)
            print(json.dumps(run(engine, Job(**job)) | memory.most()), file=answers)


if __name__ == "__main__":
    main()
