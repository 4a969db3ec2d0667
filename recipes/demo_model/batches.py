"""Draw the batch of each step, if needed in advance by worker processes, so that the device does not wait."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from recipes.demo_model.dialogue import Batch, Corpus
from recipes.demo_model.training import randomness


@dataclass(frozen=True)
class Draws(Dataset[Batch]):
    """The batch of each step; it does not depend on when, and in which process, it is drawn.

    Attributes:
        corpus: to draw from.
        count: conversations per batch.
        steps: number of steps, over which targets grow longer.
        seed: of the draws.
    """

    corpus: Corpus
    count: int
    steps: int
    seed: int

    def __getitem__(self, step: int) -> Batch:
        """Draw the batch of a step."""
        return self.corpus.draw(self.count, step / self.steps, randomness(self.seed, step))


class Batches:
    """The batches by step, drawn in advance if there are workers.

    Args:
        draws: the batch of each step.
        workers: number of processes that draw in advance; with 0, a batch is drawn when it is requested.
    """

    def __init__(self, draws: Draws, workers: int = 0) -> None:
        self._draws, self._workers = draws, workers
        self._ahead: Iterator[Batch] = iter(())
        self._next = -1

    def at(self, step: int) -> Batch:
        """Return the batch of a step; if steps are requested in order, the workers have drawn it already."""
        if not self._workers:
            return self._draws[step]
        if step != self._next:
            self._ahead = iter(
                DataLoader(
                    self._draws,
                    batch_size=None,
                    sampler=range(step, self._draws.steps),
                    num_workers=self._workers,
                    multiprocessing_context="spawn",  # a fork of a process with threads can crash
                    prefetch_factor=4,
                    pin_memory=torch.cuda.is_available(),
                )
            )
        self._next = step + 1
        return next(self._ahead)
