"""Two processes that share the work make the same step as one that does all of it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from recipes.demo_model.batches import Batches, Draws
from recipes.demo_model.dialogue import Corpus
from recipes.demo_model.model_trainer import Plan, Trainer
from recipes.demo_model.processes import ALONE, Processes
from recipes.demo_model.progress import Progress
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import Spoken
from recipes.demo_model.train import train
from recipes.demo_model.training import descend, learning_rate
from tests import tiny_checkpoints
from tests.ports import free_port

CPU = torch.device("cpu")
STEPS = 3
PLAN = Plan(batch=4, steps=STEPS, peak=1e-3)


def batches(rank: int) -> Batches:
    """Return what a process draws: other conversations than the other one."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(1, 9, (6 + line, 4)).astype(np.int16) for line in range(8)]
    spoken = [
        Spoken(f"Text {line}.", f"speaker {line % 2}", codes, codes, np.zeros(len(codes), np.int16))
        for line, codes in enumerate(frames)
    ]
    return Batches(Draws(Corpus(spoken, make_tokenizer()), PLAN.batch, STEPS, seed=rank))


def share(rank: int, port: int, folder: Path) -> None:
    """Be one of two processes; the first has one step less to do, so it ends the run for both."""
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    trainer = Trainer(tiny_checkpoints.make(), PLAN, CPU, Processes.join())
    progress = Progress(STEPS - 1 + rank, minutes=5)
    assert train(trainer, batches(rank), None, trainer.model.codec_model, folder, progress) == STEPS - 1
    torch.save(trainer.model.state_dict(), folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_that_averages_their_losses(tmp_path: Path) -> None:
    spawn(share, (free_port(), tmp_path), nprocs=2)
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = Trainer(tiny_checkpoints.make(), PLAN, CPU)
    for step in range(STEPS - 1):
        losses = [_loss(alone, batches(rank), step) for rank in (0, 1)]
        descend(alone.optimiser, alone.trained, torch.stack(losses).mean(), learning_rate(step, STEPS, alone.plan.peak))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(value, ours[name], atol=2e-5, rtol=1e-3)
    assert (tmp_path / "weights" / "config.json").exists()


def test_one_process_alone_is_the_first_and_leaves_gradients_alone() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    ALONE.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert (Processes.join(), ALONE.any(True), ALONE.any(False)) == (ALONE, True, False)


def _loss(trainer: Trainer, of: Batches, step: int) -> Any:
    trainer.model.train()
    batch = of.at(step)
    parts = trainer._losses(trainer.model, batch)
    assert trainer.guide
    return torch.stack([*parts.values(), trainer.plan.guide * trainer.guide.loss(batch.places)]).sum()
