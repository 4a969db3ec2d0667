"""Tell whether a recording carries the mark."""

from fractions import Fraction

import numpy as np
import torch
from torchaudio.functional import resample

from csm.audio.watermark.perth import SAMPLE_RATE, Perth
from csm.audio.waveform import Waveform
from csm.errors import UnusableReference

MIN_SECONDS = 0.5
THRESHOLD = 0.7
"""Confidence from which a recording counts as marked: between the highest of unmarked and the lowest of marked
recordings (docs/watermark.md)."""


def detect(recording: Waveform, perth: Perth) -> float:
    """Return how much a recording seems to be marked, from 0 to 1; see `THRESHOLD`.

    Raises:
        UnusableReference: it is shorter than `MIN_SECONDS`, or has samples that are not finite numbers.
    """
    if recording.seconds < MIN_SECONDS:
        raise UnusableReference(f"The audio is too short; at least {MIN_SECONDS:g} s are needed to find a mark.")
    if not np.isfinite(recording.samples).all():
        raise UnusableReference("The audio contains values that are not finite numbers: export it again.")
    peak = np.abs(recording.samples).max()
    # Float files may have samples of any size; the size of usual ones is left as it is.
    samples = torch.from_numpy(recording.samples / max(peak, np.float32(1)))
    # An odd rate is approximated, as for reference audio: its filter would need gigabytes.
    ratio = Fraction(SAMPLE_RATE, recording.sample_rate).limit_denominator(500)
    return perth.confidence(resample(samples, ratio.denominator, ratio.numerator))
