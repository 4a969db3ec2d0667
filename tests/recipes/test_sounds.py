"""Stretches of recordings: cut, padded and varied as asked, and labelled with what is spoken in them."""

import numpy as np
import pytest
import torch

from recipes.demo_model import phonemes
from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.recordings import NONE, Recording, Variety, play
from recipes.demo_model.sounds import Sounds, Stretches
from recipes.demo_model.training import seed_step

CPU = torch.device("cpu")
ROUNDING = 1 / 32767


def _pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax()) * SAMPLE_RATE / len(samples)


def _tone(hertz: float, seconds: float = 3.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def _draw(recordings: list[Recording], count: int, frames: int, variety: Variety = NONE, step: int = 0) -> Stretches:
    seed_step(0, step)
    return Sounds(recordings, CPU).draw(count, frames, variety)


def _at(speed: float) -> Variety:
    return Variety(share=float(speed != 1.0), speeds=(speed, speed), decibels=(0.0, 0.0))


def test_recordings_shorter_than_asked_for_end_in_silence() -> None:
    others = [Recording(np.full(5000, value, np.float32)) for value in (0.5, -0.5)]
    drawn = _draw([others[0], Recording(np.ones(10, np.float32)), others[1]], 20, 1)
    short = [one.numpy() for one in drawn.samples if one[0] > 0.9]
    assert short and all(one == pytest.approx([1.0] * 10 + [0.0] * (SAMPLES_PER_FRAME - 10), abs=1e-6) for one in short)
    assert (drawn.labels == phonemes.UNKNOWN).all()


@pytest.mark.parametrize("speed", [0.85, 1.18])
def test_played_faster_is_shorter_and_higher(speed: float) -> None:
    played = play(_tone(440), speed)
    assert len(played) == round(3 * SAMPLE_RATE / speed)
    assert _pitch(played) == pytest.approx(440 * speed, rel=0.01)
    assert np.abs(played[2000:-2000]).max() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("speed", [0.85, 1.18])
@pytest.mark.parametrize("hertz", [200.0, 6000.0])
def test_a_tone_played_at_another_speed_is_a_tone_and_nothing_else(speed: float, hertz: float) -> None:
    played = _draw([Recording(_tone(hertz, 8.0) * np.float32(0.5))], 1, 10, _at(speed)).samples[0].numpy()
    time = np.arange(len(played)) / SAMPLE_RATE
    waves = np.stack([np.sin(2 * np.pi * hertz * speed * time), np.cos(2 * np.pi * hertz * speed * time)], 1)
    rest = played - waves @ np.linalg.lstsq(waves, played, rcond=None)[0]
    assert np.abs(played).max() == pytest.approx(0.5, abs=0.01)
    assert np.square(rest).sum() < 1e-4 * np.square(played).sum()


def test_what_is_above_the_band_is_silenced_when_it_is_played_faster() -> None:
    played = _draw([Recording(_tone(11_500.0))], 1, 10, _at(1.18)).samples[0].numpy()
    assert np.sqrt(np.square(played).mean()) < 0.2


def test_varied_stretches_have_other_pitches_and_levels() -> None:
    variety = Variety(share=1.0, speeds=(0.85, 1.18), decibels=(-9.0, 0.0))
    drawn = _draw([Recording(_tone(440))], 40, 10, variety).samples.numpy()
    pitches, levels = [_pitch(one) for one in drawn], np.abs(drawn).max(1)
    assert 440 * 0.83 < min(pitches) < 400 and 480 < max(pitches) < 440 * 1.2
    assert 0.33 < levels.min() < 0.6 and 0.8 < levels.max() < 1.02


def test_labels_follow_a_stretch_that_is_played_faster() -> None:
    """The first half of each recording is one sound, a tone of 300 Hz; the second another, of 600 Hz."""
    samples = np.concatenate([_tone(300, 1.5), _tone(600, 1.5)])
    recordings = [
        Recording(samples, np.repeat([1 + 2 * which, 2 + 2 * which], len(samples) // 2 // 600)) for which in (0, 1)
    ]
    for speed in (0.85, 1.0, 1.18):
        for step in range(10):
            drawn = _draw(recordings, 1, 4, _at(speed), step)
            for frame, labels in zip(drawn.samples[0].reshape(4, -1).numpy(), drawn.labels[0].numpy(), strict=True):
                if labels[0] == labels[1]:
                    assert (_pitch(frame) > 450 * speed) == (labels[0] in (2, 4))


def test_labels_are_known_or_not_for_each_recording() -> None:
    silent, spoken = Recording(_tone(300)), Recording(_tone(600), np.full(20, 7))
    drawn = _draw([silent, spoken, silent], 20, 10)
    for one, labels in zip(drawn.samples, drawn.labels.flatten(1), strict=True):
        heard = set(labels.tolist())
        assert heard <= ({7, phonemes.SILENCE} if _pitch(one.numpy()) > 450 else {phonemes.UNKNOWN})


def test_a_timeline_gives_each_phoneme_its_time_and_stress_the_sound_it_stresses() -> None:
    line = phonemes.timeline("h\u02c8O!", [2, 1, 1, 3, 2, 1])
    h, o = (phonemes.SOUNDS.index(symbol) + 1 for symbol in "hO")
    assert line.tolist() == [0, 0, h, o, o, o, o, 0, 0, 0]
    assert phonemes.timeline("", []).size == 0


def test_labels_are_silence_after_the_end() -> None:
    line = phonemes.timeline("h", [0, 4, 0])
    assert phonemes.labels(line, 0, 1.0, 2).tolist() == [[line[0], line[0]], [0, 0]]


def test_unvaried_stretches_are_the_recording_itself() -> None:
    tone = _tone(440, 0.5)
    drawn = _draw([Recording(tone)], 1, 1).samples[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(tone, len(drawn))
    assert np.abs(windows - drawn).max(1).min() < ROUNDING


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no recording"):
        Sounds([], CPU)
