"""Conditioning of reference audio: 24 kHz, no DC, silence trimmed, cut at a pause, levelled.

This imports torch and torchaudio, which takes seconds and hundreds of megabytes: the HTTP layer must not import it.
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

LOUDNESS_SECONDS = 0.4
"""Length of the blocks of ITU-R BS.1770-4: the loudness of less audio is not defined."""

LOUDNESS = -20.0
"""Loudness of close speech in LUFS by ITU-R BS.1770-4, as `torchaudio.functional.loudness` measures it."""
PEAK = 10 ** (-1 / 20)
"""Ceiling of -1 dBFS; audio whose peaks would exceed it stays quieter than `LOUDNESS`."""

_PIECE = 240_000
"""Least number of samples that are resampled at once."""
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


@dataclass(frozen=True, eq=False)
class Conditioned(Waveform):
    """Reference audio.

    Attributes:
        dropped_seconds: of the recording, behind the pause where it was cut.
    """

    dropped_seconds: float = 0.0


def condition(waveform: Waveform, max_seconds: float, *, is_reference: bool = True) -> Conditioned:
    """Make reference audio of a recording.

    Args:
        waveform: mono, at any rate and level.
        max_seconds: longest result; a longer recording is cut at the quietest point of its last quarter.
        is_reference: whether a voice is to be cloned from it. Other speech may be clipped, and as short as
            `LOUDNESS_SECONDS`.

    Returns:
        Float32 at 24 kHz and `LOUDNESS`, with peaks below `PEAK` and 100 ms of silence at either end.

    Raises:
        UnusableReference: the recording is not finite, silent, clipped, or has less than `MIN_SECONDS` of sound.
    """
    level = Level.from_samples(waveform.samples)
    signal = _trimmed(_resampled(waveform, level), MIN_SECONDS if is_reference else LOUDNESS_SECONDS)
    if is_reference:
        _refuse_clipped(signal)
    kept = _cut_at_pause(signal, max_seconds)
    samples = np.ascontiguousarray(_levelled(kept).numpy(), dtype=np.float32)
    return Conditioned(samples, SAMPLE_RATE, (len(signal) - len(kept)) / SAMPLE_RATE)


@dataclass(frozen=True)
class Level:
    """Shift and gain that bring samples to zero mean and half of full scale.

    Later filters clamp to -1..1, and float files may exceed that by any factor.

    Attributes:
        swing: largest magnitude, which is divided by first so that nothing overflows.
        centre: mean, in units of `swing`.
        peak: largest distance from the mean, in units of `swing`.
    """

    swing: float
    centre: float
    peak: float

    @classmethod
    def from_samples(cls, samples: Samples) -> "Level":
        """Measure a whole recording.

        Raises:
            UnusableReference: it is empty, silent or not finite.
        """
        if not len(samples):
            raise UnusableReference(f"The reference audio is empty; at least {MIN_SECONDS:g} s of speech is needed.")
        low, high = float(samples.min()), float(samples.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UnusableReference(
                "The reference audio contains values that are not finite numbers: record or export it again."
            )
        swing, mean = max(-low, high), float(samples.mean(dtype=np.float64))
        if max(high - mean, mean - low) < _SILENT_PEAK:
            raise UnusableReference("The reference audio is silent: check the microphone and record again.")
        return cls(swing, mean / swing, max(high - mean, mean - low) / swing)

    def apply(self, samples: Samples) -> Tensor:
        """Return a copy with that shift and gain."""
        return torch.tensor(samples).div_(self.swing).sub_(self.centre).div_(2 * self.peak)


def _resampled(waveform: Waveform, level: Level) -> Tensor:
    """Level, resample to 24 kHz, and remove what is too low to be a voice.

    The size of the filter is the product of the ratio's terms: 24000/44101 would need gigabytes. So an odd rate is
    approximated by a ratio of small numbers, which changes the pitch by less than 1e-5; common rates are exact. The
    high-pass removes the offset that remains if only part of a recording has DC, and that would hide its silence.
    """
    ratio = Fraction(SAMPLE_RATE, waveform.sample_rate).limit_denominator(500)
    resample = Resample(ratio.denominator, ratio.numerator, lowpass_filter_width=32, rolloff=0.96)
    signal = torch.cat(list(_pieces(waveform.samples, level, resample)))
    cleaned: Tensor = audio.highpass_biquad(signal, SAMPLE_RATE, _HIGHPASS_HZ)
    return cleaned


def _pieces(samples: Samples, level: Level, resample: Resample) -> Iterator[Tensor]:
    """Resample in pieces that overlap by the filter; at once, it would take several copies of the whole."""
    old, new = resample.orig_freq, resample.new_freq
    reach = resample.width + old if old != new else 0
    overlap, length = (-(-least // old) * old for least in (reach, _PIECE))
    for start in range(0, len(samples), length):
        begin = max(start - overlap, 0)
        piece = resample(level.apply(samples[begin : start + length + overlap]))
        skipped = (start - begin) // old * new
        yield piece[skipped : skipped + length // old * new]


def _decibels(signal: Tensor) -> Tensor:
    """Return the level in dB of each complete 20 ms frame, shape `[frames]`."""
    frames = signal[: len(signal) // _FRAME * _FRAME].view(-1, _FRAME)
    return 10 * torch.log10(frames.square().mean(1) + 1e-12)


def _active(levels: Tensor) -> Tensor:
    """Return which frames are active: within 40 dB of the loud ones, or less if pauses are noisy; no single clicks."""
    noise, loud = levels.quantile(0.1), levels.quantile(0.95)
    threshold = (noise + _ABOVE_NOISE_DB).clamp(loud - _ACTIVE_RANGE_DB, loud - _ACTIVE_RANGE_DB / 2)
    near = levels > threshold.clamp(min=_ACTIVE_FLOOR_DB)
    return nn.pad(near.float(), (2, 2)).unfold(0, 5, 1).median(dim=1).values > 0


def _trimmed(signal: Tensor, min_seconds: float) -> Tensor:
    frames = _active(_decibels(signal)).nonzero().flatten().tolist() if len(signal) >= _FRAME else []
    first, end = (frames[0], frames[-1] + 1) if frames else (0, 0)
    _refuse_short((end - first) / _FRAMES_PER_SECOND, min_seconds)
    return signal[max(first - _MARGIN_FRAMES, 0) * _FRAME : (end + _MARGIN_FRAMES) * _FRAME]


def _refuse_short(sounding: float, min_seconds: float) -> None:
    if sounding < min_seconds:
        raise UnusableReference(
            f"The reference audio has {sounding:.2f} s of sound; at least {min_seconds:g} s is needed, "
            "5 to 15 s is best."
        )


def _refuse_clipped(signal: Tensor) -> None:
    """Judge by the crest factor: speech has 9 to 16 dB, hard-limited speech 8. Lossy codecs would hide flat tops."""
    magnitude = signal.abs()
    peak = magnitude.quantile(0.999)
    sounding = magnitude[magnitude > 0.05 * peak]
    crest = 20 * float(torch.log10(peak / sounding.square().mean().sqrt()))
    if crest < _MIN_CREST_DB:
        raise UnusableReference(
            f"The reference audio is clipped, or it is not speech: its peaks stand {crest:.0f} dB above its average, "
            "in speech 10 dB or more. Record again further from the microphone or at a lower gain."
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
