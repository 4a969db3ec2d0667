"""Timing of phonemes: labels for the codec's first codebook."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT

SOUNDS = "əɹntsɪdlikzðmʌɛpævfAhɔbwIɑɐᵊuʃTOɡŋjɜWʧᵻʤʊθYʒaoe"  # noqa: RUF001 (the letters are meant)
"""Kokoro's phonemes of English. Trained weights depend on their order. Everything else is silence."""

STRESS = "ˈˌ"
SILENCE = 0
UNKNOWN = -100
CLASSES = len(SOUNDS) + 1
LABELS_PER_FRAME = 2

Labels = NDArray[np.int64]


def timeline(phonemes: str, durations: Sequence[int]) -> Labels:
    """Return the class of each `UNIT` of an utterance; empty if durations are not known.

    Args:
        phonemes: one symbol per character.
        durations: as in `Utterance`, with silence at both ends.
    """
    if not durations:
        return np.zeros(0, np.int64)
    symbols = [" ", *phonemes, " "]
    classes = [_class_at(symbols, position) for position in range(len(symbols))]
    return np.repeat(np.array(classes, np.int64), durations)


def durations(ends: Sequence[float]) -> list[int]:
    """Return the durations of consecutive phonemes in `UNIT`s, from their ends in seconds.

    The ends are rounded rather than the durations, so that errors do not add up.
    """
    edges = np.round(np.array([0.0, *ends]) * SAMPLE_RATE / UNIT).astype(int)
    return [int(length) for length in np.diff(edges)]


def labels(line: Labels, start: float, speed: float, frames: int) -> Labels:
    """Return `[frames, LABELS_PER_FRAME]`: the classes in each codec frame of a stretch.

    Args:
        line: from `timeline`; if it is empty, all labels are `UNKNOWN`.
        start: of the stretch, in samples of the utterance.
        speed: samples of the utterance per sample of the stretch.
        frames: length of the stretch.
    """
    count = frames * LABELS_PER_FRAME
    if not len(line):
        return np.full((frames, LABELS_PER_FRAME), UNKNOWN, np.int64)
    middles = start + (np.arange(count) + 0.5) * SAMPLES_PER_FRAME / LABELS_PER_FRAME * speed
    units = (middles / UNIT).astype(np.int64)
    heard = np.where(units < len(line), line[np.minimum(units, len(line) - 1)], SILENCE)
    return heard.reshape(frames, LABELS_PER_FRAME)


def _class_at(symbols: Sequence[str], position: int) -> int:
    """Return the class of a symbol; that of a stress mark is that of the next symbol."""
    symbol = symbols[position]
    if symbol in STRESS and position + 1 < len(symbols):
        symbol = symbols[position + 1]
    return SOUNDS.find(symbol) + 1 if symbol.strip() else SILENCE
