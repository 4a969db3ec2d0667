"""What every training stage shares: device, schedule, randomness, checkpoints, progress."""

import argparse
import contextlib
import fcntl
import math
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Go on from there."""


def choose_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one. On a CPU, numbers too small to matter count as zero: they are slow."""
    torch.set_flush_denormal(True)
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def common_arguments(doc: str | None, steps: int, batch: int, peak: float) -> argparse.ArgumentParser:
    """A parser with what both training stages ask; the numbers are the defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=steps, help="over which the learning rate falls")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--peak", type=float, default=peak, help="highest learning rate")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def mixed_precision(device: torch.device, on_cpu: bool = False) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 matrix products on a GPU, on a CPU only where asked for; else float32 throughout."""
    wanted = on_cpu or device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext()


def learning_rate(step: int, total: int, peak: float, warm_up: int = 150, floor: float = 0.05) -> float:
    """Linear warm-up, then half a cosine down to `floor` of the peak at step `total`."""
    rise = min(1.0, (step + 1) / warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total))))
    return peak * rise * (floor + (1 - floor) * fall)


def descend(optimiser: torch.optim.Optimizer, trained: Iterable[nn.Parameter], loss: Tensor, *rates: float) -> None:
    """One step down the gradient, whose norm over `trained` is kept below 1; one learning rate per group."""
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()


def randomness(seed: int, step: int) -> np.random.Generator:
    """The draws of one step.

    They depend on nothing but seed and step: a run that was stopped and resumed equals one that was not.
    """
    return np.random.default_rng((seed, step))


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """A copy whose weights follow the module's as a moving average: it speaks better than the last step does."""

    def follow(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        return mean.lerp(value, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    return AveragedModel(module, avg_fn=follow)


class Checkpoint:
    """The state of a run in one file, replaced as a whole so that a kill at any moment leaves a good one.

    A run enters it first: two in one folder would overwrite each other's steps.
    """

    def __init__(self, path: Path, **parts: Stateful) -> None:
        self.path = path
        self.parts = parts
        self._lock = -1

    def __enter__(self) -> "Checkpoint":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise BlockingIOError(f"another run writes {self.path}: wait for it or choose another --out") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def load(self) -> int:
        """Restore all parts; returns the next step, 0 when there is no file yet."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Write all parts; `step` is the next one to do."""
        partial = self.path.with_suffix(".partial")
        torch.save({"step": step} | {name: part.state_dict() for name, part in self.parts.items()}, partial)
        os.replace(partial, self.path)


class Progress:
    """Says when to stop and to save, and prints averages of what it is told."""

    def __init__(self, steps: int, minutes: float, every: int = 50, save_every: int = 500) -> None:
        self.steps, self.every, self.save_every = steps, every, save_every
        self._began = time.monotonic()
        self._deadline = self._began + 60 * minutes
        self._interrupted = False
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    def stop_on_sigterm(self) -> "Progress":
        """From now on SIGTERM ends the run after the present step, with a checkpoint."""
        signal.signal(signal.SIGTERM, self._interrupt)
        return self

    def over(self, step: int) -> bool:
        """Whether the steps are done, the time is up, or the run was told to stop."""
        return step >= self.steps or self._interrupted or time.monotonic() > self._deadline

    def report(self, step: int, **values: float) -> None:
        """Add to the averages; every so often print them and start anew."""
        self._count += 1
        for name, value in values.items():
            self._sums[name] += float(value)
        if step % self.every == 0:
            averages = "  ".join(f"{name} {total / self._count:.3f}" for name, total in self._sums.items())
            pace = (time.monotonic() - self._began) / self._count
            print(f"step {step}/{self.steps}  {averages}  {pace:.2f} s/step", flush=True)
            self._sums.clear()
            self._count, self._began = 0, time.monotonic()

    def time_to_save(self, step: int) -> bool:
        """Whether a checkpoint is due after this step."""
        return step % self.save_every == 0

    def _interrupt(self, *_: object) -> None:
        self._interrupted = True


def run(
    checkpoint: Checkpoint, progress: Progress, do: Callable[[int], dict[str, float]], save: Callable[[int], None]
) -> int:
    """Go on from the last checkpoint until `progress` says stop; returns the number of steps done in all.

    Args:
        checkpoint: of the run.
        progress: that it reports to.
        do: one step, by its number; returns the losses.
        save: after so many steps.
    """
    with checkpoint:
        step = checkpoint.load()
        while not progress.over(step):
            values = do(step)
            step += 1
            progress.report(step, **values)
            if progress.time_to_save(step):
                save(step)
        save(step)
    return step
