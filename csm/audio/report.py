"""Measure the quality of reference audio, and warn of shortcomings that do not prevent its use.

A second speaker is not detected: without a speaker model, the features that distinguish two speakers (pitch, mean
spectrum) vary as much with the room, the microphone and the mood of one speaker.
"""

from dataclasses import dataclass

import numpy as np
import torchaudio.functional as audio
from numpy.typing import NDArray

from csm.audio.condition import Conditioned, Level
from csm.audio.waveform import Samples, Waveform

SHORT_SECONDS = 5.0
NOISY_DB = 15.0
QUIET_LUFS = -45.0
CLIPPED_SHARE = 1.5e-4
"""Unclipped speech has up to .7e-4; clipped by 3 dB of gain too much, it has 2e-4 and more."""
LOW_CREST_DB = 8.5
"""Speech has 8.8 dB and more. Below 7.5 dB, `condition` refuses the audio."""
TONAL = 3.7
"""Human voices stay below 3.5; one synthetic voice reached 3.8. Music alone has 3.6 to 5 and is detected. Music as loud
as the voice is detected in half of the cases, softer music rarely."""

_MAX_SNR_DB = 60.0
_LOUDNESS_SECONDS = 30

# Noise floor: the level to which each frequency falls in pauses.
_FLOOR_WINDOW, _FLOOR_HOP = 480, 240
_FLOOR_SMOOTHING, _FLOOR_QUANTILE = 9, 0.05
_FLOOR_BIAS = 1.94
"""Ratio of mean to quantile, for white noise with that smoothing."""
_FLOOR_FIRST_BIN = 2  # 100 Hz: hum and rumble below the voice hardly matter

_TONE_WINDOW, _TONE_HOP = 2048, 512
_TONE_NEIGHBOURS = 21
_TONE_DB = 1.0
_TONE_BLOCK = 122  # frames, which are 2.6 s
_TONE_PEAKS = 5


@dataclass(frozen=True)
class Report:
    """Measurements of reference audio.

    Attributes:
        seconds: duration of the audio that is used.
        snr_db: mean level relative to the background in pauses, at most 60. Music and other voices count as background.
        clipped_share: share of samples in clipped peaks. Lossy codecs hide clipping.
        crest_db: peak relative to the average; clipping and strong compression lower it.
        loudness_lufs: of the recording, before levelling, by ITU-R BS.1770-4.
        tonality: 0 to 5, how much tones of constant pitch prevail; None if the audio is too short to tell.
        dropped_seconds: of speech after the audio that is used; more if the recording is longer than was decoded.
    """

    seconds: float
    snr_db: float
    clipped_share: float
    crest_db: float
    loudness_lufs: float
    tonality: float | None
    dropped_seconds: float = 0.0


def examine(recording: Waveform, conditioned: Conditioned) -> Report:
    """Measure reference audio.

    Args:
        recording: as decoded.
        conditioned: the result of `csm.audio.condition.condition` for it.
    """
    samples = conditioned.samples.astype(np.float64)
    return Report(
        seconds=round(conditioned.seconds, 2),
        snr_db=round(_snr(samples), 1),
        clipped_share=round(_clipped_share(recording.samples), 5),
        crest_db=round(_crest(samples), 1),
        loudness_lufs=round(_loudness(recording), 1),
        tonality=_tonality(samples),
        dropped_seconds=round(conditioned.dropped_seconds, 2),
    )


def warnings(report: Report) -> list[str]:
    """Return a line `code: sentence` for each shortcoming.

    The lines are ASCII without semicolons, so that they can be joined by `; ` in an HTTP header.
    """
    found = []
    if report.seconds < SHORT_SECONDS:
        found.append(f"short: only {report.seconds:.1f} s are used. Send 5 to 15 s of speech for a closer likeness.")
    if report.dropped_seconds:
        found.append(
            f"cut: only the first {report.seconds:.1f} s are used, up to a pause. A transcript must have the words of "
            "that part only."
        )
    if report.snr_db < NOISY_DB:
        found.append(
            f"noisy: the background is only {max(0.0, report.snr_db):.0f} dB below the voice. Record in a quiet room, "
            "closer to the microphone."
        )
    if report.clipped_share > CLIPPED_SHARE or report.crest_db < LOW_CREST_DB:
        found.append("clipped: peaks are cut off or strongly compressed. Record at a lower gain, without effects.")
    if report.loudness_lufs < QUIET_LUFS:
        found.append(
            f"quiet: the recording has only {report.loudness_lufs:.0f} LUFS. Record closer to the microphone or at a "
            "higher gain."
        )
    if report.tonality is not None and report.tonality > TONAL:
        found.append("music: there seems to be music or a steady tone. Record the voice with nothing else.")
    return found


def _spectra(samples: NDArray[np.float64], window: int, hop: int) -> NDArray[np.float64]:
    """Return the power spectra `[frames, bins]`."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop] * np.hanning(window)
    power: NDArray[np.float64] = np.abs(np.fft.rfft(frames)) ** 2
    return power


def _snr(samples: NDArray[np.float64]) -> float:
    power = _spectra(samples, _FLOOR_WINDOW, _FLOOR_HOP)[:, _FLOOR_FIRST_BIN:]
    smooth = np.lib.stride_tricks.sliding_window_view(power, _FLOOR_SMOOTHING, axis=0).mean(-1)
    noise = _FLOOR_BIAS * float(np.quantile(smooth, _FLOOR_QUANTILE, axis=0).sum())
    total = float(power.sum(1).mean())
    ratio = max(total - noise, 1e-3 * total) / max(noise, 1e-9 * total)
    return min(10 * float(np.log10(ratio)), _MAX_SNR_DB)


def _clipped_share(samples: Samples) -> float:
    """Return the share of samples in runs of three or more within 2 % of the maximum or the minimum."""
    count = 0
    for top, signal in ((samples.max(), samples), (-samples.min(), -samples)):
        if top <= 0:
            continue
        # int8 throughout: in int64, a minute at 192 kHz would take 92 MB.
        near = np.diff((signal >= 0.98 * top).astype(np.int8), prepend=np.int8(0), append=np.int8(0))
        lengths = np.flatnonzero(near == -1) - np.flatnonzero(near == 1)
        count += int(lengths[lengths >= 3].sum())
    return count / len(samples)


def _crest(samples: NDArray[np.float64]) -> float:
    magnitude = np.abs(samples)
    peak = np.quantile(magnitude, 0.999)
    sounding = magnitude[magnitude > 0.05 * peak]
    return float(20 * np.log10(peak / np.sqrt(np.mean(sounding**2))))


def _loudness(recording: Waveform) -> float:
    start = recording.samples[: _LOUDNESS_SECONDS * recording.sample_rate]
    level = Level.from_samples(recording.samples)
    scaled = float(audio.loudness(level.apply(start)[None], recording.sample_rate))
    gain = float(20 * np.log10(2 * level.peak) + 20 * np.log10(level.swing))
    return max(scaled + gain, -99.0)


def _tonality(samples: NDArray[np.float64]) -> float | None:
    """Measure continuous frequency activation (Seyerlehner et al. 2007, "Automatic music detection in television").

    Partials of instruments stay at one frequency, while those of voices glide. So it is measured, in each block, for
    what share of the time each frequency stands out from its neighbours, and how sharply that share peaks.
    """
    levels = 10 * np.log10(_spectra(samples, _TONE_WINDOW, _TONE_HOP) + 1e-6)
    if len(levels) < _TONE_BLOCK:
        return None
    width = 2 * _TONE_NEIGHBOURS + 1
    padded = np.pad(levels, ((0, 0), (_TONE_NEIGHBOURS + 1, _TONE_NEIGHBOURS)), mode="edge").cumsum(1)
    stands_out = levels - (padded[:, width:] - padded[:, :-width]) / width > _TONE_DB
    starts = range(0, len(levels) - _TONE_BLOCK + 1, _TONE_BLOCK // 2)
    blocks = [_sharpest(stands_out[start : start + _TONE_BLOCK].mean(0)) for start in starts]
    return round(float(np.mean(blocks)), 2)


def _sharpest(activation: NDArray[np.float64]) -> float:
    """Return the sum of the highest peaks, each measured from the lowest point nearby."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(activation, 6, mode="edge"), 13)
    is_peak = activation >= around[:, 4:9].max(1)
    heights = np.where(is_peak, activation - around.min(1), 0.0)
    return float(np.sort(heights)[-_TONE_PEAKS:].sum())
