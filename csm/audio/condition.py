"""A recording made fit to be a reference: 24 kHz, centred, trimmed, cut at a pause, levelled.

Importing this module imports torch and torchaudio (seconds of time, hundreds of megabytes): the HTTP layer must not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as nn
import torchaudio.functional as audio
from torch import Tensor
from torchaudio.transforms import Resample

from csm.audio.waveform import Samples, Waveform
from csm.errors import UnusableReference

SAMPLE_RATE = 24_000
MIN_SECONDS = 1.0

LOUDNESS = -20.0
"""LUFS by ITU-R BS.1770-4, the level of close speech; as `torchaudio.functional.loudness` measures it."""
PEAK = 10 ** (-1 / 20)
"""Ceiling of -1 dBFS; a reference whose peaks would pass it is left quieter than `LOUDNESS`."""

_PIECE = 240_000
"""Samples that are resampled at once, at least."""
_HIGHPASS_HZ = 30.0
_SILENT_PEAK = 10 ** (-60 / 20)
_FRAMES_PER_SECOND = 50
_FRAME = SAMPLE_RATE // _FRAMES_PER_SECOND
_MARGIN_FRAMES = 5
_ACTIVE_RANGE_DB = 40.0
_ABOVE_NOISE_DB = 6.0
_ACTIVE_FLOOR_DB = -70.0
_PAUSE_FRAMES = 11
_PAUSE_SEARCH = 0.25
_MIN_CREST_DB = 7.5


def condition(waveform: Waveform, max_seconds: float) -> Waveform:
    """Make a reference of a recording.

    Args:
        waveform: any rate and level; mono.
        max_seconds: the longest result; a longer recording ends at the quietest point of its last quarter.

    Returns:
        Float32 at 24 kHz, at `LOUDNESS` with peaks below `PEAK`, edge silence cut to 100 ms.

    Raises:
        UnusableReference: not finite, silent, less than `MIN_SECONDS` of sound, or clipped.
    """
    level = Level.of(waveform.samples)
    signal = _trimmed(_resampled(waveform, level))
    _refuse_clipped(signal)
    signal = _levelled(_cut_at_pause(signal, max_seconds))
    return Waveform(np.ascontiguousarray(signal.numpy(), dtype=np.float32), SAMPLE_RATE)


@dataclass(frozen=True)
class Level:
    """What brings samples to no DC and half of full scale: later filters clamp to -1..1, a float file knows no limit.

    Attributes:
        swing: largest magnitude; divided by first, so that nothing overflows.
        centre: mean, in units of `swing`.
        peak: largest distance from the mean, in units of `swing`.
    """

    swing: float
    centre: float
    peak: float

    @classmethod
    def of(cls, samples: Samples) -> "Level":
        """Of a whole recording.

        Raises:
            UnusableReference: it is empty, silent or not finite.
        """
        if not len(samples):
            raise UnusableReference(f"The sample is empty; at least {MIN_SECONDS:g} s of speech is needed.")
        low, high = float(samples.min()), float(samples.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UnusableReference(
                "The sample contains values that are not finite numbers: record or export it again."
            )
        swing, mean = max(-low, high), float(samples.mean(dtype=np.float64))
        if max(high - mean, mean - low) < _SILENT_PEAK:
            raise UnusableReference("The sample is silent: check the microphone and record again.")
        return cls(swing, mean / swing, max(high - mean, mean - low) / swing)

    def apply(self, samples: Samples) -> Tensor:
        """A copy at that level."""
        return torch.tensor(samples).div_(self.swing).sub_(self.centre).div_(2 * self.peak)


def _resampled(waveform: Waveform, level: Level) -> Tensor:
    """At that level, to 24 kHz, without what is too low to be a voice.

    Usual rates are exact; an odd one is taken as a ratio of small numbers, since the filter's size is their product
    (24000/44101 would need gigabytes), for a change of pitch below 1e-5. The high-pass takes the offset that
    centring leaves on one side where sound with DC stands beside digital silence; it would hide that silence.
    """
    ratio = Fraction(SAMPLE_RATE, waveform.sample_rate).limit_denominator(500)
    resample = Resample(ratio.denominator, ratio.numerator, lowpass_filter_width=32, rolloff=0.96)
    signal = torch.cat(list(_pieces(waveform.samples, level, resample)))
    cleaned: Tensor = audio.highpass_biquad(signal, SAMPLE_RATE, _HIGHPASS_HZ)
    return cleaned


def _pieces(samples: Samples, level: Level, resample: Resample) -> Iterator[Tensor]:
    """What the whole would be resampled to, in pieces that overlap by the filter: the whole takes several copies."""
    old, new = resample.orig_freq, resample.new_freq
    reach = resample.width + old if old != new else 0
    overlap, length = (-(-least // old) * old for least in (reach, _PIECE))
    for start in range(0, len(samples), length):
        begin = max(start - overlap, 0)
        piece = resample(level.apply(samples[begin : start + length + overlap]))
        skipped = (start - begin) // old * new
        yield piece[skipped : skipped + length // old * new]


def _decibels(signal: Tensor) -> Tensor:
    """Level of each whole 20 ms frame, shape `[frames]`."""
    frames = signal[: len(signal) // _FRAME * _FRAME].view(-1, _FRAME)
    return 10 * torch.log10(frames.square().mean(1) + 1e-12)


def _active(levels: Tensor) -> Tensor:
    """Which frames hold sound: within 40 dB of the loud ones, or less where noise fills the pauses; no lone clicks."""
    noise, loud = levels.quantile(0.1), levels.quantile(0.95)
    threshold = (noise + _ABOVE_NOISE_DB).clamp(loud - _ACTIVE_RANGE_DB, loud - _ACTIVE_RANGE_DB / 2)
    near = levels > threshold.clamp(min=_ACTIVE_FLOOR_DB)
    return nn.pad(near.float(), (2, 2)).unfold(0, 5, 1).median(dim=1).values > 0


def _trimmed(signal: Tensor) -> Tensor:
    frames = _active(_decibels(signal)).nonzero().flatten().tolist() if len(signal) >= _FRAME else []
    first, end = (frames[0], frames[-1] + 1) if frames else (0, 0)
    _refuse_short((end - first) / _FRAMES_PER_SECOND)
    return signal[max(first - _MARGIN_FRAMES, 0) * _FRAME : (end + _MARGIN_FRAMES) * _FRAME]


def _refuse_short(sounding: float) -> None:
    if sounding < MIN_SECONDS:
        raise UnusableReference(
            f"The sample has {sounding:.2f} s of sound; at least {MIN_SECONDS:g} s is needed, 5 to 15 s is best."
        )


def _refuse_clipped(signal: Tensor) -> None:
    """By the crest factor of what sounds: 9 to 16 dB in speech, 8 if limited hard; a codec would hide flat tops."""
    magnitude = signal.abs()
    peak = magnitude.quantile(0.999)
    sounding = magnitude[magnitude > 0.05 * peak]
    crest = 20 * float(torch.log10(peak / sounding.square().mean().sqrt()))
    if crest < _MIN_CREST_DB:
        raise UnusableReference(
            f"The sample is clipped, or is no speech: its peaks stand {crest:.0f} dB above its average, in speech 10 "
            "dB or more. Record again further from the microphone or at a lower gain."
        )


def _cut_at_pause(signal: Tensor, max_seconds: float) -> Tensor:
    limit = int(max_seconds * SAMPLE_RATE)
    if len(signal) <= limit:
        return signal
    power = (10 ** (_decibels(signal[:limit]) / 10))[None]
    smooth = nn.avg_pool1d(power, _PAUSE_FRAMES, stride=1)[0]
    start = int(len(smooth) * (1 - _PAUSE_SEARCH))
    quietest = start + int(smooth[start:].argmin()) + _PAUSE_FRAMES // 2
    return signal[: quietest * _FRAME]


def _levelled(signal: Tensor) -> Tensor:
    loudness = float(audio.loudness(signal[None], SAMPLE_RATE))
    gain = 10 ** ((LOUDNESS - loudness) / 20)
    return signal * min(gain, PEAK / float(signal.abs().max()))
