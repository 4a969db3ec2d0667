"""The batch of each step, drawn ahead by processes of their own where the device would wait for them."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from recipes.demo_model.dialogue import Batch, Corpus
from recipes.demo_model.training import randomness


class Batches(Dataset[Batch]):
    """Batches by step: whoever draws one, and whenever, it is the same.

    Args:
        corpus: what they are drawn from.
        count: conversations per batch.
        steps: over which targets grow longer; there is no batch after the last of them.
        seed: of the draws.
        workers: processes that draw ahead; without any, a batch is drawn when it is asked for.
    """

    def __init__(self, corpus: Corpus, count: int, steps: int, seed: int, workers: int = 0) -> None:
        self._corpus, self._count, self._steps, self._seed, self._workers = corpus, count, steps, seed, workers
        self._ahead: Iterator[Batch] = iter(())
        self._next = -1

    def __getitem__(self, step: int) -> Batch:
        """Draw the batch of a step, here and now."""
        return self._corpus.draw(self._count, step / self._steps, randomness(self._seed, step))

    def at(self, step: int) -> Batch:
        """Return the batch of a step; asked for one after the other, they are there already."""
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
