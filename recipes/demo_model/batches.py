"""Draw the batch of each step, if needed in advance by worker processes, so that the device does not wait."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from recipes.demo_model.dialogue import Batch, Corpus
from recipes.demo_model.training import randomness


class Batches(Dataset[Batch]):
    """The batches by step; the batch of a step does not depend on when, and in which process, it is drawn.

    Args:
        corpus: to draw from.
        count: conversations per batch.
        steps: number of steps, over which targets grow longer.
        seed: of the draws.
        workers: number of processes that draw in advance; with 0, a batch is drawn when it is requested.
    """

    def __init__(self, corpus: Corpus, count: int, steps: int, seed: int, workers: int = 0) -> None:
        self._corpus, self._count, self._steps, self._seed, self._workers = corpus, count, steps, seed, workers
        self._ahead: Iterator[Batch] = iter(())
        self._next = -1

    def __getitem__(self, step: int) -> Batch:
        """Draw the batch of a step in this process."""
        return self._corpus.draw(self._count, step / self._steps, randomness(self._seed, step))

    def at(self, step: int) -> Batch:
        """Return the batch of a step; if steps are requested in order, the workers have drawn it already."""
        if not self._workers:
            return self[step]
        if step != self._next:
            self._ahead = iter(
                DataLoader(
                    self,
                    batch_size=None,
                    sampler=range(step, self._steps),
                    num_workers=self._workers,
                    prefetch_factor=4,
                    pin_memory=torch.cuda.is_available(),
                )
            )
        self._next = step + 1
        return next(self._ahead)
