"""Train one model in several processes, each of which computes its own batch.

    torchrun --nproc-per-node 2 -m recipes.demo_model.train ...

Every process keeps a copy of the model. All average their gradients before each step, so the copies stay equal.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Processes:
    """All processes of a run, as one of them sees them.

    Attributes:
        count: number of processes.
        rank: number of this one; the first, 0, reports and saves.
    """

    count: int = 1
    rank: int = 0

    @classmethod
    def join(cls) -> "Processes":
        """Wait for the other processes that `torchrun` has started; without it, this one is alone."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(dist.get_world_size(), dist.get_rank())

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its average over all processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(together)
        together /= self.count
        for gradient, mean in zip(gradients, together.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, condition: bool) -> bool:
        """Return whether the condition is true in any process: all must agree on when a run ends."""
        if self.count == 1:
            return condition
        answer = torch.tensor(condition, dtype=torch.int32)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer)


ALONE = Processes()
