"""Perth's networks: one changes the spectrum of speech below 2 kHz, the other tells whether a spectrum was changed.

Architecture and weights are those of `PerthImplicitWatermarker` in Resemble AI's Perth (MIT license). Perth works at
32 kHz, with windows of 64 ms every 10 ms. In windows of the same duration at 24 kHz, the bins below 12 kHz are the same
but for a factor. So speech of 24 kHz is not resampled, and only the change is added to it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional as F

from csm.audio.watermark.weights import DISTRIBUTION, weights_file
from csm.errors import ModelUnavailable

SAMPLE_RATE = 24_000
HOP, WINDOW = 240, 1536
"""Samples from one frame of the spectrum to the next, and in each: 10 and 64 ms."""
REACH = 15 * HOP + WINDOW // 2
"""How far a sample can influence the change of others: fifteen frames to either side (five convolutions over seven
frames), and half a window."""

_SCALE = 32_000 / SAMPLE_RATE
_BINS = 128
"""Bins that are changed: those below 2 kHz."""
_FLOOR_DB, _SPAN_DB = -180.0, 195.0
"""Magnitudes from -180 dB to 15 dB are mapped to 0..1."""
_SPEEDS = {"slow": 1.25, "normal": 1.0, "fast": 0.75}
"""The detector examines the spectrum at its own speed and at two others."""


class Perth:
    """The networks with their weights; thread-safe.

    Args:
        weights: tensors by name, as in the package.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        names = ["encoder.layers", *(f"decoder.{speed}_layers" for speed in _SPEEDS)]
        self._layers = {name: list(_layers(weights, name)) for name in names}
        self._window = torch.hann_window(WINDOW)

    @classmethod
    def load(cls) -> "Perth":
        """Load the weights of the installed package.

        Raises:
            ModelUnavailable: they are not installed or damaged; the message names the remedy.
        """
        file = weights_file()
        try:
            # The file is a pickle. `weights_only` builds nothing but tensors and containers from it.
            perth = cls(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["model"])
            # Weights that do not fit fail here, and not in the first request.
            perth.change(torch.ones(WINDOW))
            perth.confidence(torch.ones(WINDOW))
        except Exception as error:
            raise ModelUnavailable(
                f"The watermark's weights cannot be read ({type(error).__name__}): "
                f"`pip install --force-reinstall {DISTRIBUTION}`, or set CSM_WATERMARK=off to send unmarked speech."
            ) from error
        return perth

    def change(self, samples: Tensor) -> Tensor:
        """Return what must be added to speech to mark it: `[samples]`, zero where the speech is digital silence.

        Args:
            samples: of 24 kHz; more than half a window.
        """
        with _one_thread(), torch.inference_mode():
            spectrum = self._spectrum(samples)
            magnitudes = _magnitudes(spectrum)
            decibels = self._run("encoder.layers", magnitudes[:_BINS]) * _is_sound(magnitudes) * _SPAN_DB
            change = torch.zeros_like(spectrum)
            change[:_BINS] = spectrum[:_BINS] * (10 ** (decibels / 20) - 1)
            return torch.istft(change, WINDOW, HOP, window=self._window, length=len(samples))

    def confidence(self, samples: Tensor) -> float:
        """Return how much a recording seems to be marked: from 0 to 1; 0 for digital silence.

        Args:
            samples: of 24 kHz; more than half a window.
        """
        with _one_thread(), torch.inference_mode():
            magnitudes = _magnitudes(self._spectrum(samples))
            sound = _is_sound(magnitudes)
            if not sound.any():
                return 0.0
            weights, marks = [], []
            for speed, factor in _SPEEDS.items():
                frames = int(len(sound) * factor)
                spectrum = F.interpolate(magnitudes[None, :_BINS], frames, mode="linear", align_corners=True)[0]
                is_sound = F.interpolate(sound[None, None], frames)[0, 0]
                weight, mark = (self._run(f"decoder.{speed}_layers", spectrum) * is_sound).sum(1) / is_sound.sum()
                weights.append(weight)
                marks.append(mark)
            return float((torch.stack(weights).softmax(0) * torch.stack(marks)).sum().clamp(0, 1))

    def _spectrum(self, samples: Tensor) -> Tensor:
        return torch.stft(samples, WINDOW, HOP, window=self._window, return_complex=True)

    def _run(self, name: str, frames: Tensor) -> Tensor:
        """Run a network over `[channels, frames]`."""
        *hidden, (weight, bias) = self._layers[name]
        for hidden_weight, hidden_bias in hidden:
            frames = F.leaky_relu(F.conv1d(frames, hidden_weight, hidden_bias, padding="same"))
        return F.conv1d(frames, weight, bias)


def _layers(weights: Mapping[str, Tensor], name: str) -> Iterator[tuple[Tensor, Tensor]]:
    for index in count():
        if (prefix := f"{name}.{index}.conv") + ".weight" not in weights:
            return
        yield weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]


def _magnitudes(spectrum: Tensor) -> Tensor:
    return (20 * torch.log10((spectrum.abs() * _SCALE).clamp_min(1e-9)) - _FLOOR_DB) / _SPAN_DB


def _is_sound(magnitudes: Tensor) -> Tensor:
    """Return 1 for each frame but those of digital silence, which are 0: `[frames]`."""
    loudness = magnitudes.sum(0)
    return (loudness > 0.05 * loudness.max()).float()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in the calling thread only; other threads keep their numbers of threads.

    Each request thread that computes in parallel would get a team of threads of its own, as large as the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
