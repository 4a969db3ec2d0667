"""The judge sees what is quiet, learns only as much as is good for the codec, and is heard only when it knows."""

import pytest
import torch
from torch import Tensor

from recipes.demo_model import discriminator
from recipes.demo_model.discriminator import Discriminator


def _batch(seed: int, hiss: float) -> Tensor:
    """Half a second of a loud buzz with a quiet hiss."""
    generator = torch.Generator().manual_seed(seed)
    pitch = 0.02 + 0.02 * torch.rand(4, 1, generator=generator)
    buzz = torch.sin(torch.arange(6000) * pitch * torch.arange(1, 6)[:, None, None]).sum(0) * 0.1
    return buzz + torch.randn(4, 6000, generator=generator) * hiss


def _taught(steps: int) -> float:
    """The hinge loss after some lessons on sounds that differ in their hiss alone, by 6 dB."""
    torch.manual_seed(0)
    judge = Discriminator(channels=8, sizes=(256,))
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, (0.5, 0.9))
    for step in range(steps):
        optimiser.zero_grad()
        judge.lesson(_batch(step, 0.004), _batch(1000 + step, 0.002), 0).backward()
        optimiser.step()
    return float(judge.hinge)


def test_it_learns_to_tell_sounds_that_differ_in_what_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discriminator, "MEMORY", 0.8)
    assert _taught(100) < 1.5


def _with_hinge(value: float) -> Discriminator:
    torch.manual_seed(0)
    judge = Discriminator(channels=2, sizes=(256,))
    judge.hinge.fill_(value)
    return judge


@pytest.mark.parametrize(("hinge", "learns"), [(0.3, False), (0.7, True), (1.95, True)])
def test_it_stops_learning_when_it_sees_through_everything(
    hinge: float, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discriminator, "MEMORY", 1.0)
    judge = _with_hinge(hinge)
    judge.lesson(_batch(0, 0.01), _batch(1, 0.0), 0).backward()
    assert any(bool(value.grad.any()) for value in judge.parameters() if value.grad is not None) is learns


@pytest.mark.parametrize(("hinge", "heard"), [(0.3, True), (1.7, True), (1.9, False)])
def test_it_is_not_heard_while_it_guesses(hinge: float, heard: bool) -> None:
    judge, made = _with_hinge(hinge), _batch(1, 0.0).requires_grad_()
    cost, parts = judge.verdict(_batch(0, 0.01), made, 0)
    (gradient,) = torch.autograd.grad(cost, made)
    assert bool(gradient.any()) is heard
    expected = discriminator.ADVERSARIAL * parts["adversarial"] + discriminator.FEATURES * parts["features"]
    torch.testing.assert_close(cost, expected * heard)


def test_a_verdict_teaches_it_nothing_and_leaves_it_able_to_learn() -> None:
    judge, made = _with_hinge(1.0), _batch(1, 0.0).requires_grad_()
    judge.verdict(_batch(0, 0.01), made, 0)[0].backward()
    assert made.grad is not None and all(value.grad is None for value in judge.parameters())
    assert all(value.requires_grad for value in judge.parameters())


def test_what_lessons_cost_is_remembered_on_average() -> None:
    judge = _with_hinge(1.0)
    losses = []
    for step in range(3):
        real, made = _batch(step, 0.01), _batch(step + 10, 0.0)
        with torch.no_grad():
            losses.append(torch.relu(1 - judge(real, 0)[0]).mean() + torch.relu(1 + judge(made, 0)[0]).mean())
        judge.lesson(real, made, 0)
    expected = torch.ones(())
    for loss in losses:
        expected = expected.lerp(loss, 1 - discriminator.MEMORY)
    torch.testing.assert_close(judge.hinge, expected)
    assert "hinge" in judge.state_dict()
