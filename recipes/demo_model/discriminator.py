"""A small discriminator that learns to distinguish decoded audio from real audio, for adversarial training (a GAN)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.demo_model.losses import spectrogram

COMPRESSION = -0.7
"""Spectra are multiplied by this power of their magnitude. Uncompressed, all but their largest values look alike to the
discriminator, and it learns nothing: after 3,600 steps its hinge loss was 1.9 of 2."""

QUIETEST = 1e-2
"""Added to the magnitude before that power."""

HINGE = (0.5, 1.8)
"""While its loss is below the first value, the discriminator recognises almost everything and is not trained. While its
loss is above the second, it guesses, and the codec ignores it. A loss of 2 is guessing."""

MEMORY = 0.98
"""Decay per step of the moving average of the discriminator's loss that is compared with `HINGE`."""

ADVERSARIAL, FEATURES = 0.05, 0.3
"""Weights of the two losses, chosen so that their gradients at the decoder are as large as those of the others."""

Judgement = tuple[Tensor, list[Tensor]]
"""A score for each patch of the spectrogram, and the features of all layers."""


class Discriminator(nn.Module):
    """A discriminator of complex spectrograms at three resolutions (Défossez et al. 2022), with few channels.

    Each step uses one resolution: a third of the work, with the same effect over some steps.

    Attributes:
        sizes: of the FFT at each resolution.
        hinge: moving average of the discriminator's loss, a scalar.
    """

    hinge: Tensor

    def __init__(self, channels: int = 16, sizes: Sequence[int] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.stacks = nn.ModuleList(_stack(channels) for _ in sizes)
        self.register_buffer("hinge", torch.ones(()))

    def forward(self, sound: Tensor, which: int) -> Judgement:
        """Return the judgement of `[batch, samples]` at resolution `which` of `sizes`."""
        spectrum = spectrogram(sound, self.sizes[which]) / self.sizes[which] ** 0.5
        spectrum = spectrum * (spectrum.abs() + QUIETEST) ** COMPRESSION
        hidden = torch.stack((spectrum.real, spectrum.imag), 1).transpose(2, 3)
        stack, features = self.stacks[which], []
        for layer in stack[:-1]:
            hidden = layer(hidden)
            features.append(hidden)
        return stack[-1](hidden).float(), [one.float() for one in features]

    def lesson(self, real: Tensor, made: Tensor, which: int) -> Tensor:
        """Return the discriminator's loss: the hinge loss, or zero while it recognises almost everything.

        Args:
            real: `[batch, samples]`.
            made: the codec's output, detached.
            which: index of the resolution.
        """
        loss = F.relu(1 - self(real, which)[0]).mean() + F.relu(1 + self(made, which)[0]).mean()
        self.hinge.lerp_(loss.detach(), 1 - MEMORY)
        return loss * (self.hinge > HINGE[0])

    def verdict(self, real: Tensor, made: Tensor, which: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the codec's loss, and its two parts unweighted, without gradients for the discriminator."""
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
