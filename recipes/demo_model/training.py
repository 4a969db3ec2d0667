"""Shared parts of the training stages: device, learning rate, randomness, checkpoints, and the training loop."""

import argparse
import contextlib
import fcntl
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recipes.demo_model.processes import ALONE, Processes
from recipes.demo_model.progress import Limits, Progress


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore the state."""


def choose_device(name: str, number: int = 0) -> torch.device:
    """Return a device; `auto` is the GPU with this number if there is one.

    Denormal numbers are flushed to zero: they are slow on CPUs.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True  # all batches of the codec have one shape
    return torch.device((f"cuda:{number}" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def common_arguments(doc: str | None, steps: int, batch: int, peak: float) -> argparse.ArgumentParser:
    """Return a parser with the options of both training stages; the arguments are the defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=steps, help="number of steps, over which the learning rate falls")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--peak", type=float, default=peak, help="maximum learning rate")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--float32", action="store_true", help="use float32 even if bfloat16 is faster")
    parser.add_argument("--seed", type=int, default=0)
    aborting = parser.add_argument_group("limits at which the run fails")
    aborting.add_argument("--slowest", type=float, default=0.0, help="maximum seconds per step; 0: no limit")
    aborting.add_argument("--highest", type=float, default=0.0, help="maximum of the first loss; 0: no limit")
    aborting.add_argument("--from-step", type=int, default=3000, help="step from which that loss is checked")
    aborting.add_argument("--weights-within", type=float, default=1e9, help="seconds until weights must be written")
    return parser


def limits(arguments: argparse.Namespace, watched: str) -> Limits:
    """Return the limits from the command line; `watched` is the loss that `--highest` limits."""
    return Limits(
        slowest=arguments.slowest,
        highest=arguments.highest,
        watched=watched,
        from_step=arguments.from_step,
        weights=arguments.out / "weights" / "config.json",
        weights_within=arguments.weights_within,
    )


def bfloat16_pays(device: torch.device) -> bool:
    """Return whether the device is faster in bfloat16 than in float32: a GPU, or a CPU with instructions for it.

    On other CPUs, bfloat16 takes twice the time.
    """
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def mixed_precision(device: torch.device, bfloat16: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context that computes matrix products and convolutions in bfloat16, or everything in float32."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def compute_exactly() -> None:
    """Turn TF32 off on GPUs: rounding the factors of products would change codes that are close to each other."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextlib.contextmanager
def many_shapes() -> Iterator[None]:
    """Take convolutions as they come: to try all algorithms, as in training, would take longer for each new shape."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def learning_rate(step: int, total: int, peak: float, warm_up: int = 150, floor: float = 0.05) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine down to `floor * peak` at step `total`."""
    rise = min(1.0, (step + 1) / warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total))))
    return peak * rise * (floor + (1 - floor) * fall)


def descend(
    optimiser: torch.optim.Optimizer,
    trained: Iterable[nn.Parameter],
    loss: Tensor,
    *rates: float,
    processes: Processes = ALONE,
) -> None:
    """Make one optimiser step with a learning rate for each group; the norm of the gradient is clipped to 1.

    The gradient is the average over the processes.
    """
    trained = list(trained)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    processes.average_gradients(trained)
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()


def seed_step(seed: int, step: int) -> None:
    """Seed torch's global generators, on all devices, for the draws of one step: see `randomness`."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1))


def randomness(seed: int, step: int) -> np.random.Generator:
    """Return the random generator of one step.

    It depends only on seed and step, so that a resumed run equals one that was not stopped.
    """
    return np.random.default_rng((seed, step))


class Checkpoint:
    """The state of a run in one file, replaced atomically, so that it is complete even if the run is killed.

    As a context manager, it locks the file, so that two runs do not overwrite each other's state.
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
        """Restore all parts; return the next step, or 0 if there is no file yet."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Write all parts; `step` is the next step."""
        partial = self.path.with_suffix(".partial")
        torch.save({"step": step} | {name: part.state_dict() for name, part in self.parts.items()}, partial)
        os.replace(partial, self.path)


def run(
    checkpoint: Checkpoint,
    progress: Progress,
    do: Callable[[int], dict[str, Tensor]],
    save: Callable[[int], None],
    processes: Processes = ALONE,
) -> int:
    """Continue from the last checkpoint until `progress` ends the run; return the total number of steps.

    Args:
        checkpoint: of the run.
        progress: to report to.
        do: makes the step with a number; returns the losses.
        save: saves the state after a number of steps.
        processes: of the run; the first of them reports and saves.
    """
    is_first = processes.rank == 0
    with checkpoint if is_first else contextlib.nullcontext():
        step = checkpoint.load()
        saved = -1
        while not processes.any(progress.over(step)):
            values = do(step)
            step += 1
            if is_first:
                progress.report(step, values)
            if progress.time_to_save(step):
                if is_first:
                    save(step)
                saved = step
        if saved != step and is_first:
            save(step)
    return step
