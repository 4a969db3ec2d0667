"""Say a recording in a monotone whose periods begin at the same place in each codec frame, or raise its pitch.

A codec that gets only phonemes and a voice can know neither the pitch of a recording nor its phase, nor where the voice
breaks off or breathes. Trained on what it cannot know, it learns an average, which is a whisper. So only the spectral
envelope over time is kept of a recording (by WORLD, Morise et al. 2016). The pitch is constant, with a whole number of
periods in a latent, the phoneme decides how much of the sound is noise, and the noise is the same in each frame.
"""

import functools
import importlib
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.architecture import FRAME_RATE, LATENTS_PER_FRAME, SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT
from recipes.demo_model.recordings import Samples

PERIOD_MS = 10.0
HOP = round(SAMPLE_RATE * PERIOD_MS / 1000)
STEP = FRAME_RATE * LATENTS_PER_FRAME
"""In Hz, between the pitches of monotones. In smaller steps, a voice would not tell which of them it has."""

LOWEST = 3 * STEP

CONTRAST_BINS, CONTRAST_TIMES = 9, 9
"""Width in bins of the envelope (about 200 Hz) and in `PERIOD_MS` of the means whose contrast is raised. Faster changes
are not: raising them costs more words than it saves."""

AUDIBLE = np.log(1e-3)
"""Power of a moment, relative to the mean of the recording, above which it counts for the mean spectrum."""

VOICE = 1e-3
"""Share of the noise in the amplitude of the voice alone."""

UNVOICED = "ptkfsʃθhʧ"
BUZZING = "zvʒðʤ"
"""Phonemes that are noise, and those that are voice and noise. Silence is noise; all others are voice."""

NOISE = MappingProxyType(
    {"unvoiced": ((0, 1.0),), "buzzing": ((0, 0.1), (3000, 0.9)), "voiced": ((2000, 0.05), (12_000, 0.4))}
)
"""Share of the noise in the amplitude at some frequencies in Hz, between which it is interpolated."""


class Analysed:
    """The pitch and the spectral envelope of a recording over time."""

    def __init__(self, sound: Samples, line: phonemes.Labels, pace: float = 1.0) -> None:
        """Analyse a recording.

        Args:
            sound: to analyse.
            line: its timeline, from `phonemes.timeline`.
            pace: at which it is spoken from now on: less than 1 makes everything longer, in the same voice.
        """
        samples = sound.astype(np.float64)
        contour, times = _pitch(samples)
        self._count = round(len(sound) / pace)
        # Without gaps, as the envelope depends on the pitch, and not every voiced sound is recognised as such.
        self._contour = (
            np.interp(times, times[contour > 0], contour[contour > 0]) if contour.any() else contour + LOWEST
        )
        self._envelope = _world().cheaptrick(samples, self._contour, times, SAMPLE_RATE)
        units = np.minimum((times * SAMPLE_RATE / UNIT).astype(int), len(line) - 1)
        self._noise = _noise(self._envelope.shape[1])[line[units]]
        if pace != 1.0:
            places = np.arange(0, self._count + 1, HOP) / HOP * pace
            self._contour = np.interp(places, np.arange(len(times)), self._contour)
            self._envelope = _between(self._envelope, places)
            self._noise = self._noise[_nearest(places, len(times))]

    def monotone(self, pitch: float, said: NDArray[np.float64] | None = None, contrast: float = 1.0) -> Samples:
        """Return the recording at a constant pitch in Hz, from `possible`, and with the same noise in each frame.

        Args:
            pitch: of the result.
            contrast: factor of the differences between the spectra of phonemes. A decoder that learns an average makes
                them smaller, so that phonemes are confused; with this, it makes them as large as they were.
            said: `[labels + 1]`: the samples that are said at the beginning of each label, from `pairs.on_the_grid`, so
                that each phoneme is where its labels are; None for the times of the recording.
        """
        envelope, noise, count = self._envelope, self._noise, self._count
        if contrast != 1.0:
            envelope = _contrasted(envelope, contrast)
        if said is not None:
            count = (len(said) - 1) * pairs.LABEL
            labels = np.arange(0, count + 1, HOP) / pairs.LABEL - pairs.AHEAD / pairs.LABEL
            places = np.interp(labels, np.arange(len(said)), said) / HOP
            envelope, noise = _between(envelope, places), noise[_nearest(places, len(noise))]
        voice = envelope * (1 - noise**2)
        flat = _synthesised(count, np.full(len(voice), float(pitch)), voice, np.full_like(noise, VOICE))
        return flat + _filtered(count, envelope * noise**2)

    def raised(self, factor: float) -> Samples:
        """Return the recording with its pitch multiplied by `factor`, and its formants as they are."""
        return _synthesised(self._count, self._contour * factor, self._envelope, self._noise)


def _synthesised(
    count: int, contour: NDArray[np.float64], envelope: NDArray[np.float64], noise: NDArray[np.float64]
) -> Samples:
    made = _world().synthesize(contour, envelope.clip(1e-16), noise, SAMPLE_RATE, PERIOD_MS)[:count]
    return np.pad(made, (0, count - len(made))).astype(np.float32)


def _contrasted(envelope: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return the envelope with its deviations from the mean spectrum times `factor`; loudness stays as it is."""
    logarithm = np.log(envelope.clip(1e-16))
    loudness = np.log(envelope.mean(1).clip(1e-16))
    audible = loudness > np.log(envelope.mean().clip(1e-16)) + AUDIBLE
    shape = logarithm - logarithm[audible].mean(0)
    shape -= shape.mean(1, keepdims=True)
    width = (CONTRAST_TIMES, CONTRAST_BINS)
    padding = (CONTRAST_TIMES // 2, CONTRAST_BINS // 2)
    smooth = F.avg_pool2d(torch.from_numpy(shape)[None], width, 1, padding, count_include_pad=False)[0].numpy()
    made = np.exp(logarithm + (factor - 1) * smooth)
    return np.asarray(made * (envelope.sum(1) / made.sum(1))[:, None])


def _between(envelope: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the envelope at fractional places, interpolated between the logarithms of its neighbours."""
    before = _nearest(np.floor(places), len(envelope))
    after, share = _nearest(before + 1, len(envelope)), (places - before).clip(0, 1)[:, None]
    logarithm = np.log(envelope.clip(1e-16))
    return np.exp(logarithm[before] * (1 - share) + logarithm[after] * share)


def _nearest(places: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return np.round(places).astype(np.int64).clip(0, count - 1)


def _filtered(count: int, power: NDArray[np.float64]) -> Samples:
    """Return noise that is the same in each codec frame, with this power over time, `[times, bins]`."""
    bins, hop = power.shape[1], HOP
    frame = np.random.default_rng(0).standard_normal(SAMPLES_PER_FRAME)
    noise = torch.from_numpy(np.tile(frame, -(-count // SAMPLES_PER_FRAME))[:count])
    options = {"n_fft": 2 * (bins - 1), "hop_length": hop, "window": torch.hann_window(2 * (bins - 1)).double()}
    spectrum = torch.stft(noise, **options, return_complex=True)
    shaped = spectrum * torch.from_numpy(power[: spectrum.shape[1]].T).sqrt()
    return torch.istft(shaped, **options, length=count).float().numpy()


@functools.cache
def _noise(bins: int) -> NDArray[np.float64]:
    """Return `[classes, bins]`: the share of noise in each phoneme at frequencies up to half the sample rate."""
    kinds = ["unvoiced" if s in UNVOICED else "buzzing" if s in BUZZING else "voiced" for s in phonemes.SOUNDS]
    frequencies = np.linspace(0, SAMPLE_RATE / 2, bins)
    curves = {kind: np.interp(frequencies, *zip(*points, strict=True)) for kind, points in NOISE.items()}
    return np.stack([curves[kind] for kind in ("unvoiced", *kinds)]).clip(1e-3, 1 - 1e-9)


def possible(pitch: float) -> float:
    """Return the pitch of a monotone that is nearest to `pitch`, in Hz."""
    return max(LOWEST, STEP * round(pitch / STEP))


def pitch_of(sound: Samples) -> float:
    """Return the median pitch of the voiced parts in Hz, or 0 if there are none."""
    pitch = _pitch(sound.astype(np.float64))[0]
    return float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else 0.0


def _pitch(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pitch over time, 0 where there is none, and the times."""
    world = _world()
    rough, times = world.dio(samples, SAMPLE_RATE, frame_period=PERIOD_MS)
    return world.stonemask(samples, rough, times, SAMPLE_RATE), times


def _world() -> Any:
    return importlib.import_module("pyworld")
