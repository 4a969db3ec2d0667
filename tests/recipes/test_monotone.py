"""A monotone has a constant pitch, its periods begin at the same place in each frame, and it is as long as before."""

import itertools

import numpy as np
import pytest

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT
from recipes.demo_model.monotone import STEP, Analysed, pitch_of, possible

UNITS = 2 * SAMPLE_RATE // UNIT
VOICED = np.full(UNITS, phonemes.SOUNDS.index("m") + 1)


def _gliding(start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    """A voice-like sound: 30 harmonics of a pitch that glides."""
    count = int(seconds * SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(np.linspace(start, end, count)) / SAMPLE_RATE
    return (0.2 * sum(np.sin(order * phase) / order for order in range(1, 31))).astype(np.float32)


def _alike(sound: np.ndarray) -> float:
    """Return the correlation of one frame with the next, away from the ends."""
    middle = len(sound) // 2 // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    one, other = sound[middle - SAMPLES_PER_FRAME : middle + SAMPLES_PER_FRAME].reshape(2, -1)
    return float(np.corrcoef(one, other)[0, 1])


def _between_harmonics(sound: np.ndarray) -> float:
    """Return the share of the power that is not near the harmonics of 100 Hz, of half a second in the middle."""
    middle = sound[len(sound) // 2 - 6000 :][:12_000]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    from_harmonic = (np.arange(len(power)) * 2 + 50) % 100 - 50
    return float(power[np.abs(from_harmonic) > 8].sum() / power.sum())


def test_the_pitch_is_measured() -> None:
    assert pitch_of(_gliding(110, 110)) == pytest.approx(110, rel=0.02)
    assert pitch_of(np.zeros(SAMPLE_RATE, np.float32)) == 0


def test_each_frame_repeats_the_one_before() -> None:
    flat = Analysed(_gliding(110, 160), VOICED).monotone(possible(120))
    assert flat.dtype == np.float32 and len(flat) == 2 * SAMPLE_RATE
    assert pitch_of(flat) == pytest.approx(5 * STEP, rel=0.02)
    frames = flat[4 * SAMPLES_PER_FRAME : 20 * SAMPLES_PER_FRAME].reshape(16, SAMPLES_PER_FRAME)
    alike = [np.corrcoef(one, other)[0, 1] for one, other in itertools.pairwise(frames)]
    assert min(alike) > 0.9


def test_possible_pitches_are_steps_and_not_too_low() -> None:
    assert possible(112) == 4 * STEP and possible(113) == 5 * STEP and possible(20) == 3 * STEP


def test_the_pitch_is_raised_and_still_glides() -> None:
    raised = Analysed(_gliding(110, 160), VOICED).raised(1.5)
    assert pitch_of(raised[:SAMPLE_RATE]) == pytest.approx(1.5 * 122, rel=0.03)
    assert pitch_of(raised[SAMPLE_RATE:]) == pytest.approx(1.5 * 147, rel=0.03)


def test_the_phoneme_decides_what_is_noise() -> None:
    half = UNITS // 2
    line = np.array([phonemes.SOUNDS.index("m") + 1] * half + [phonemes.SOUNDS.index("s") + 1] * half)
    flat = Analysed(_gliding(100, 100), line).monotone(100)
    voice, hiss = flat[:SAMPLE_RATE], flat[SAMPLE_RATE:]
    assert _alike(voice) > 0.9 and _alike(hiss) > 0.9
    # The voice has harmonics only, the hiss has all frequencies.
    assert _between_harmonics(voice) < 0.01 and _between_harmonics(hiss) > 0.2


def test_a_whisper_gets_a_voice_where_its_phoneme_has_one() -> None:
    whisper = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
    assert _between_harmonics(Analysed(whisper, VOICED).monotone(100)) < 0.4 < _between_harmonics(whisper)
    assert not Analysed(np.zeros(SAMPLE_RATE, np.float32), VOICED).monotone(100).round(3).any()


@pytest.mark.parametrize("symbol", ["m", "s", "z"])
def test_a_monotone_is_as_loud_as_the_recording(symbol: str) -> None:
    sound = _gliding(110, 160)
    flat = Analysed(sound, np.full(UNITS, phonemes.SOUNDS.index(symbol) + 1)).monotone(125)
    assert np.std(flat) == pytest.approx(np.std(sound), rel=0.25)


def _two_vowels() -> np.ndarray:
    """Return a second of a bright sound and one of a dull sound, equally loud."""
    bright, dull = _gliding(100, 100, 1.0), _gliding(100, 100, 1.0)
    bright = np.diff(bright, prepend=0)  # raises high frequencies
    return np.concatenate([bright / np.std(bright), dull / np.std(dull)]).astype(np.float32) * 0.1


def _slope(sound: np.ndarray) -> float:
    """Return the level of the harmonics above 1.5 kHz relative to those below, in dB."""
    power = np.abs(np.fft.rfft(sound[6000:18_000])) ** 2
    return float(10 * np.log10(power[750:1500].sum() / power[40:750].sum()))


def test_contrast_moves_spectra_apart_and_keeps_their_loudness() -> None:
    said = Analysed(_two_vowels(), VOICED)
    plain, raised = said.monotone(100), said.monotone(100, contrast=1.5)
    apart = [_slope(sound[:SAMPLE_RATE]) - _slope(sound[SAMPLE_RATE:]) for sound in (plain, raised)]
    assert apart[1] > 1.3 * apart[0] > 5
    for half in (slice(SAMPLE_RATE), slice(SAMPLE_RATE, None)):
        assert np.std(raised[half]) == pytest.approx(np.std(plain[half]), rel=0.1)


def test_on_the_grid_phonemes_begin_with_a_label() -> None:
    # A vowel from 0.5 to 1 s, of which neither end is on the grid of 40 ms.
    line = np.concatenate([np.zeros(20), VOICED[:20], np.zeros(20)]).astype(np.int64)
    sound = _gliding(110, 110, 1.5)
    sound[:12_000] = sound[24_000:] = 0
    said = pairs.on_the_grid(line, 19)
    flat = Analysed(sound, line).monotone(possible(110), said)
    assert len(flat) == 19 * SAMPLES_PER_FRAME
    labels = pairs.labels(line, 19).ravel()
    begins = int(np.flatnonzero(labels)[0] + 1) * pairs.LABEL
    ends = int(np.flatnonzero(labels)[-1] + 2) * pairs.LABEL
    loud = np.abs(flat) > 0.05 * np.abs(flat).max()
    assert begins % pairs.LABEL == 0 and begins != 12_000
    assert np.flatnonzero(loud)[0] == pytest.approx(begins, abs=480)
    assert np.flatnonzero(loud)[-1] == pytest.approx(ends, abs=480)
