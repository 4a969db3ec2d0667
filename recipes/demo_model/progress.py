"""Decide when a run stops, saves and fails, and print its progress."""

import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


class RunFailed(RuntimeError):
    """The run exceeded one of its limits."""


@dataclass(frozen=True)
class Limits:
    """Limits of a run, checked whenever averages are printed.

    Attributes:
        slowest: maximum seconds per step; 0 for no limit.
        highest: maximum of the watched loss; 0 for no limit.
        watched: name of that loss.
        from_step: step from which the loss is checked.
        weights: file that a save writes, or None.
        weights_within: seconds after which that file must exist.
    """

    slowest: float = 0.0
    highest: float = 0.0
    watched: str = ""
    from_step: int = 0
    weights: Path | None = None
    weights_within: float = 150.0

    def check(self, step: int, averages: dict[str, float], pace: float, elapsed: float) -> None:
        """Check the averages since the last check.

        Raises:
            RunFailed: a loss is not a number, or a limit is exceeded.
        """
        if any(value != value for value in averages.values()):
            raise RunFailed(f"step {step}: a loss is not a number: lower the learning rate")
        if self.slowest and pace > self.slowest:
            raise RunFailed(
                f"step {step}: {pace:.3f} s/step, more than {self.slowest:.3f}: fewer clips, a faster device"
            )
        if self.highest and step >= self.from_step and averages[self.watched] > self.highest:
            raise RunFailed(f"step {step}: {self.watched} is {averages[self.watched]:.3f}, above {self.highest}")
        if self.weights and elapsed > self.weights_within and not self.weights.exists():
            raise RunFailed(f"step {step}: no {self.weights} after {elapsed:.0f} s: save more often")


class Progress:
    """Decide when to stop and to save, and print averages of the reported values."""

    def __init__(
        self, steps: int, minutes: float, every: int = 50, save_every: int = 500, limits: Limits = Limits()
    ) -> None:
        self.steps, self.every, self.save_every, self.limits = steps, every, save_every, limits
        self._started = self._began = time.monotonic()
        self._deadline = self._began + 60 * minutes
        self._interrupted = False
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._count = 0
        self._settling = True

    def stop_on_sigterm(self) -> "Progress":
        """Install a handler of SIGTERM that ends the run after the current step, with a checkpoint."""
        signal.signal(signal.SIGTERM, self._interrupt)
        return self

    def over(self, step: int) -> bool:
        """Return whether all steps are done, the time is up, or SIGTERM was received."""
        return step >= self.steps or self._interrupted or time.monotonic() > self._deadline

    def report(self, step: int, values: dict[str, Tensor]) -> None:
        """Add to the averages; after every `every` steps print and reset them. Only then the host waits for the device.

        Raises:
            RunFailed: a limit is exceeded.
        """
        self._count += 1
        for name, value in values.items():
            self._sums[name] += value
        if step % self.every:
            return
        averages = {name: float(total) / self._count for name, total in self._sums.items()}
        now = time.monotonic()
        pace = (now - self._began) / self._count
        shown = "  ".join(f"{name} {value:.3f}" for name, value in averages.items())
        print(f"step {step}/{self.steps}  {shown}  {pace:.3f} s/step", flush=True)
        self._sums.clear()
        self._count, self._began = 0, now
        # The first steps are slow: they compile, and select kernels.
        self.limits.check(step, averages, 0.0 if self._settling else pace, now - self._started)
        self._settling = False

    def time_to_save(self, step: int) -> bool:
        """Return whether a checkpoint is due after this step."""
        return step % self.save_every == 0

    def _interrupt(self, *_: object) -> None:
        self._interrupted = True
