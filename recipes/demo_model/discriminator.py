"""A small judge that learns to tell made sound from real, while the codec learns to deceive it (a GAN)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.demo_model.losses import spectrogram

COMPRESSION = -0.7
"""Spectra are multiplied by this power of their size. As they are, all but the loudest of their points look alike to
the judge, and it learns nothing: after 3,600 steps its hinge loss was 1.9 of 2."""

QUIETEST = 1e-2
"""Added to the size of a spectrum's points before that power."""

HINGE = (0.5, 1.8)
"""The judge stops learning while its loss is below the first, which is when it sees through everything, and is not
listened to while its loss is above the second, which is when it guesses. Guessing costs 2."""

MEMORY = 0.98
"""Decay of the moving average of the judge's loss that is held between the two, per step."""

ADVERSARIAL, FEATURES = 0.05, 0.3
"""Weights of the two losses. At the decoder their gradients then are as large as those of the other losses."""

Judgement = tuple[Tensor, list[Tensor]]
"""A score per patch of the spectrogram, and the features of all layers on the way."""


class Discriminator(nn.Module):
    """Tells made from real in complex spectrograms at three resolutions (Défossez et al. 2022), with few channels.

    One resolution is asked at a time: a third of the work, and over some steps the same lesson.

    Attributes:
        sizes: of the FFT at each resolution.
        hinge: a scalar: the moving average of what the judge's lessons cost it.
    """

    hinge: Tensor

    def __init__(self, channels: int = 16, sizes: Sequence[int] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.stacks = nn.ModuleList(_stack(channels) for _ in sizes)
        self.register_buffer("hinge", torch.ones(()))

    def forward(self, sound: Tensor, which: int) -> Judgement:
        """Judge `[batch, samples]` at resolution `which` of `sizes`."""
        spectrum = spectrogram(sound, self.sizes[which]) / self.sizes[which] ** 0.5
        spectrum = spectrum * (spectrum.abs() + QUIETEST) ** COMPRESSION
        hidden = torch.stack((spectrum.real, spectrum.imag), 1).transpose(2, 3)
        stack, features = self.stacks[which], []
        for layer in stack[:-1]:
            hidden = layer(hidden)
            features.append(hidden)
        return stack[-1](hidden).float(), [one.float() for one in features]

    def lesson(self, real: Tensor, made: Tensor, which: int) -> Tensor:
        """Return what the judge pays for its mistakes: the hinge loss, or nothing where it has learnt enough for now.

        Args:
            real: `[batch, samples]`.
            made: the codec's, without its gradient.
            which: the resolution.
        """
        loss = F.relu(1 - self(real, which)[0]).mean() + F.relu(1 + self(made, which)[0]).mean()
        self.hinge.lerp_(loss.detach(), 1 - MEMORY)
        return loss * (self.hinge > HINGE[0])

    def verdict(self, real: Tensor, made: Tensor, which: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the codec pays for being recognised, and its two parts unweighted. Teaches the judge nothing."""
        with torch.no_grad():
            wanted = self(real, which)[1]
        self.requires_grad_(False)
        score, features = self(made, which)
        self.requires_grad_(True)
        pairs = zip(features, wanted, strict=True)
        parts = {
            "adversarial": -score.mean(),
            "features": torch.stack([F.l1_loss(a, b) / (b.abs().mean() + 1e-3) for a, b in pairs]).mean(),
        }
        cost = ADVERSARIAL * parts["adversarial"] + FEATURES * parts["features"]
        return cost * (self.hinge < HINGE[1]), parts


def _stack(channels: int) -> nn.Sequential:
    def layer(inputs: int, stride: tuple[int, int]) -> nn.Module:
        conv = nn.Conv2d(inputs, channels, (3, 5), stride, padding=(1, 2))
        return nn.Sequential(nn.utils.parametrizations.weight_norm(conv), nn.LeakyReLU(0.2))

    inner = [layer(channels, stride) for stride in ((1, 2), (2, 2), (1, 2))]
    last = nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 1, 3, padding=1))
    return nn.Sequential(layer(2, (1, 2)), *inner, last)
