"""A small recogniser of phonemes and voices, trained on the originals, that listens for errors in decoded audio.

To a spectral loss, the burst of a [t] is a few quiet pixels, and a voice between two speakers is nearly as good as
either. To the recogniser, the burst decides between two words, and the other voice is that of somebody else.
"""

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from recipes.demo_model import phonemes
from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.losses import FLOOR, spectrogram

BANDS = 64
FFT = 960
STRIDES = (1, 2, 2)
"""Of the layers. The hop is a quarter of `FFT`, 10 ms, so the last layer has one position per label, 40 ms."""

TRUSTED = 2.0
"""Loss in nats below which its features are used. Guessing costs 3.8 nats."""

MEMORY = 0.98
"""Decay per step of the moving average of its loss that is compared with `TRUSTED`."""


class Recogniser(nn.Module):
    """Log-mel bands, three convolutions in time, a class for every 40 ms, and one for the voice.

    Attributes:
        loss: moving average of the cross-entropy on originals, a scalar, in nats.
    """

    loss: Tensor
    bank: Tensor

    def __init__(self, channels: int = 192, voices: int = 1) -> None:
        """Make an untrained recogniser of phonemes and of this many voices."""
        super().__init__()
        inputs = (BANDS, *[channels] * (len(STRIDES) - 1))
        self.layers = nn.ModuleList(
            nn.Conv1d(width, channels, 5, stride, padding=2) for width, stride in zip(inputs, STRIDES, strict=True)
        )
        self.classes = nn.Linear(channels, phonemes.CLASSES)
        self.voices = nn.Linear(channels, voices)
        bank = torchaudio.functional.melscale_fbanks(
            FFT // 2 + 1, 50.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("bank", bank.T, persistent=False)
        self.register_buffer("loss", torch.full((), 4.0))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits `[batch, labels, classes]` and the features of all layers, for `[batch, samples]`."""
        labels = sound.shape[-1] * phonemes.LABELS_PER_FRAME // SAMPLES_PER_FRAME
        hidden, features = torch.log(self.bank @ spectrogram(sound, FFT).abs() + FLOOR), []
        # Loudness is no property of a phoneme.
        hidden = hidden - hidden.mean((1, 2), keepdim=True)
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), 0.1)
            features.append(hidden.float())
        return self.classes(hidden[..., :labels].transpose(1, 2)).float(), features

    def voice(self, features: list[Tensor]) -> Tensor:
        """Return the logits `[batch, voices]` for the features of all layers."""
        logits: Tensor = self.voices(features[-1].mean(2))
        return logits.float()

    def lesson(self, real: Tensor, labels: Tensor, voices: Tensor | None = None) -> Tensor:
        """Return the loss to train it, on originals: the cross-entropies of their phonemes and of their voices.

        Args:
            real: `[batch, samples]`.
            labels: `[batch, labels]`: the phonemes; those that are unknown cost nothing.
            voices: `[batch]`: numbers of the voices, or None if they are unknown.
        """
        known = labels != phonemes.UNKNOWN
        said, features = self(real)
        total = F.cross_entropy(said.flatten(0, 1), labels.flatten(), ignore_index=phonemes.UNKNOWN, reduction="sum")
        loss = total / known.sum().clamp(min=1)
        self.loss.lerp_(torch.where(known.any(), loss.detach(), self.loss), 1 - MEMORY)
        return loss if voices is None else loss + F.cross_entropy(self.voice(features), voices)

    def difference(self, real: Tensor, made: Tensor, voices: bool = False) -> Tensor:
        """Return the codec's loss: the distance of features and of classes, without gradients for the recogniser.

        Args:
            real: `[batch, samples]`.
            made: the same, decoded.
            voices: whether the recogniser learns the voices, so that they are compared, too.
        """
        with torch.no_grad():
            wanted, shown = self(real)
        self.requires_grad_(False)
        heard, features = self(made)
        apart = torch.stack([F.l1_loss(a, b) / (b.abs().mean() + 1e-3) for a, b in zip(features, shown, strict=True)])
        mistaken = _divergence(heard, wanted)
        if voices:
            mistaken = mistaken + _divergence(self.voice(features), self.voice(shown))
        self.requires_grad_(True)
        return (apart.mean() + mistaken) * (self.loss < TRUSTED)


def _divergence(heard: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of classes, the last dimension, from those that are wanted."""
    return F.kl_div(heard.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="none").sum(-1).mean()
