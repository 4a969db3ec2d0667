"""Spectral losses at several resolutions."""

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from recipes.demo_model.architecture import SAMPLE_RATE

RESOLUTIONS = ((256, 20), (512, 40), (1024, 64), (2048, 96))
"""FFT sizes and numbers of mel bands; the hop is a quarter of the FFT."""

FLOOR = 1e-3
"""Added to spectra before the logarithm. With a tenth of it, nearly all of the gradient comes from near silence: 92 %
of its energy from the 15 % of the pieces below -50 dB."""


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
        """Return the loss, a scalar, of two tensors `[batch, samples]` at 24 kHz."""
        return torch.stack([self._at(size, made, real) for size, _ in RESOLUTIONS]).mean()

    def _at(self, size: int, made: Tensor, real: Tensor) -> Tensor:
        bank = self.get_buffer(f"mel{size}")
        ours, theirs = spectrogram(made, size).abs(), spectrogram(real, size).abs()
        log_mel = F.l1_loss(torch.log(bank @ ours + FLOOR), torch.log(bank @ theirs + FLOOR))
        return log_mel + 0.5 * (ours - theirs).norm() / (theirs.norm() + 1e-3)


def spectrogram(sound: Tensor, size: int) -> Tensor:
    """Return complex spectra `[batch, size / 2 + 1, frames]`, always computed in float32."""
    window = torch.hann_window(size, device=sound.device)
    return torch.stft(sound.float(), size, size // 4, window=window, return_complex=True)
