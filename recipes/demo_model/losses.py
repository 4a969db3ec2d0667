"""What makes two sounds alike: spectra at several resolutions, and small judges that learn along (a GAN)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from recipes.demo_model.architecture import SAMPLE_RATE

RESOLUTIONS = ((256, 20), (512, 40), (1024, 64), (2048, 96))
"""FFT sizes and numbers of mel bands; the hop is a quarter of the FFT."""

FLOOR = 1e-4

Judgement = tuple[Tensor, list[Tensor]]
"""A score per patch of the spectrogram, and the features of all layers on the way."""


class SpectralLoss(nn.Module):
    """Log-mel L1 and spectral convergence, averaged over `RESOLUTIONS` (Yamamoto et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        for size, bands in RESOLUTIONS:
            banks = torchaudio.functional.melscale_fbanks(
                size // 2 + 1, 0.0, SAMPLE_RATE / 2, bands, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
            )
            self.register_buffer(f"mel{size}", banks.T, persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Both `[batch, samples]` at 24 kHz; a scalar."""
        return torch.stack([self._at(size, made, real) for size, _ in RESOLUTIONS]).mean()

    def _at(self, size: int, made: Tensor, real: Tensor) -> Tensor:
        bank = self.get_buffer(f"mel{size}")
        ours, theirs = spectrogram(made, size).abs(), spectrogram(real, size).abs()
        log_mel = F.l1_loss(torch.log(bank @ ours + FLOOR), torch.log(bank @ theirs + FLOOR))
        return log_mel + 0.5 * (ours - theirs).norm() / (theirs.norm() + 1e-3)


class Discriminator(nn.Module):
    """Tells made from real in complex spectrograms at three resolutions (Défossez et al. 2022), with few channels.

    One resolution is asked at a time: a third of the work, and over some steps the same lesson.
    """

    def __init__(self, channels: int = 16, sizes: Sequence[int] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.stacks = nn.ModuleList(_stack(channels) for _ in sizes)

    def forward(self, sound: Tensor, which: int) -> Judgement:
        """Judge `[batch, samples]` at resolution `which` of `sizes`."""
        spectrum = spectrogram(sound, self.sizes[which]) / self.sizes[which] ** 0.5
        hidden = torch.stack((spectrum.real, spectrum.imag), 1).transpose(2, 3)
        stack, features = self.stacks[which], []
        for layer in stack[:-1]:
            hidden = layer(hidden)
            features.append(hidden)
        return stack[-1](hidden), features


def discriminator_loss(real: Judgement, made: Judgement) -> Tensor:
    """Hinge: real above 1, made below -1."""
    return F.relu(1 - real[0]).mean() + F.relu(1 + made[0]).mean()


def adversarial_loss(made: Judgement) -> Tensor:
    """What the codec pays for being recognised."""
    return -made[0].mean()


def feature_loss(real: Judgement, made: Judgement) -> Tensor:
    """L1 between the judge's features, relative to their size."""
    pairs = list(zip(real[1], made[1], strict=True))
    return torch.stack([F.l1_loss(b, a.detach()) / (a.detach().abs().mean() + 1e-3) for a, b in pairs]).mean()


def spectrogram(sound: Tensor, size: int) -> Tensor:
    """Complex `[batch, size / 2 + 1, frames]`, in float32 whatever the precision around it."""
    window = torch.hann_window(size, device=sound.device)
    return torch.stft(sound.float(), size, size // 4, window=window, return_complex=True)


def _stack(channels: int) -> nn.Sequential:
    def layer(inputs: int, stride: tuple[int, int]) -> nn.Module:
        conv = nn.Conv2d(inputs, channels, (3, 5), stride, padding=(1, 2))
        return nn.Sequential(nn.utils.parametrizations.weight_norm(conv), nn.LeakyReLU(0.2))

    inner = [layer(channels, stride) for stride in ((1, 2), (2, 2), (1, 2))]
    last = nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 1, 3, padding=1))
    return nn.Sequential(layer(2, (1, 2)), *inner, last)
