"""The spectral loss: nothing for the same sound, and not ruled by what cannot be heard."""

import torch

from recipes.demo_model.losses import SpectralLoss


def test_the_same_sound_costs_nothing() -> None:
    sound = torch.randn(2, 9600, generator=torch.Generator().manual_seed(0)) * 0.1
    assert SpectralLoss()(sound, sound).item() < 1e-6


def test_near_silence_does_not_rule_the_gradient() -> None:
    """One of two pieces is louder than the other by 60 dB, and both are as wrong as each other, relative to that."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([[0.1], [0.0001]])
    real = torch.randn(2, 9600, generator=generator) * levels
    made = (torch.randn(2, 9600, generator=generator) * levels).requires_grad_()
    SpectralLoss()(made, real).backward()
    assert made.grad is not None
    loud, quiet = made.grad.norm(dim=1)
    assert quiet < 100 * loud  # a thousand times as much would be in proportion to the error
