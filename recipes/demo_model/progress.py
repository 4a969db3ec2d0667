"""When a run stops and saves, what it prints, and when it gives up by itself."""

import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


class RunFailed(RuntimeError):
    """A run is not worth the rest of its time."""


@dataclass(frozen=True)
class Limits:
    """What a run must keep to; looked at whenever averages are printed.

    Attributes:
        slowest: seconds a step may take on average; 0 for any time.
        highest: what the watched loss may be; 0 for anything.
        watched: the name of that loss.
        from_step: how many steps the loss has before it is looked at.
        weights: the file that a save writes; None not to look for it.
        weights_within: seconds after which it must be there.
    """

    slowest: float = 0.0
    highest: float = 0.0
    watched: str = ""
    from_step: int = 0
    weights: Path | None = None
    weights_within: float = 150.0

    def check(self, step: int, averages: dict[str, float], pace: float, elapsed: float) -> None:
        """Look at the averages since the last time.

        Raises:
            RunFailed: a loss is not a number, or one of the limits is passed.
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
    """Says when to stop and to save, and prints averages of what it is told."""

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
        """From now on SIGTERM ends the run after the present step, with a checkpoint."""
        signal.signal(signal.SIGTERM, self._interrupt)
        return self

    def over(self, step: int) -> bool:
        """Whether the steps are done, the time is up, or the run was told to stop."""
        return step >= self.steps or self._interrupted or time.monotonic() > self._deadline

    def report(self, step: int, values: dict[str, Tensor]) -> None:
        """Add to the averages; every so often print them and start anew. Only then does the host wait for the device.

        Raises:
            RunFailed: the run has left its limits.
        """
        self._count += 1
        for name, value in values.items():
            self._sums[name] += value
        if step % self.every:
            return
        averages = {name: float(total) / self._count for name, total in self._sums.items()}
        now = time.monotonic()
        pace = (now - self._began) / self._count
        told = "  ".join(f"{name} {value:.3f}" for name, value in averages.items())
        print(f"step {step}/{self.steps}  {told}  {pace:.3f} s/step", flush=True)
        self._sums.clear()
        self._count, self._began = 0, now
        # The first steps compile, and choose among the device's kernels.
        self.limits.check(step, averages, 0.0 if self._settling else pace, now - self._started)
        self._settling = False

    def time_to_save(self, step: int) -> bool:
        """Whether a checkpoint is due after this step."""
        return step % self.save_every == 0

    def _interrupt(self, *_: object) -> None:
        self._interrupted = True
