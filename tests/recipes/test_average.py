"""The moving average follows what is trained, quickly at first, and nothing else."""

import torch
from torch import nn

from recipes.demo_model.average import MovingAverage


def _module() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[1].requires_grad_(False)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _fill(module: nn.Module, value: float) -> None:
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)


def test_only_what_is_trained_is_followed() -> None:
    module = _module()
    average = MovingAverage(module, 0.999)
    _fill(module, 1.0)
    average.update()
    assert (average.module[0].weight == 0.9).all() and (average.module[1].weight == 0).all()


def test_it_settles_to_its_decay() -> None:
    module = _module()
    average = MovingAverage(module, 0.5)
    expected = 0.0
    for step in range(20):
        _fill(module, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.module[0].weight, torch.full((2, 2), expected))


def test_it_goes_on_where_it_was() -> None:
    module = _module()
    first, second = MovingAverage(module, 0.999), MovingAverage(module, 0.999)
    _fill(module, 1.0)
    for _ in range(5):
        first.update()
    second.load_state_dict(first.state_dict())
    for one in (first, second):
        one.update()
    assert torch.equal(first.module[0].weight, second.module[0].weight)
