"""Stretches of recordings: cut, padded and varied as asked, and labelled with what is spoken in them."""

import numpy as np
import pytest

from recipes.demo_model import phonemes, recordings
from recipes.demo_model.architecture import SAMPLE_RATE, SAMPLES_PER_FRAME
from recipes.demo_model.recordings import NONE, Recording, Variety
from recipes.demo_model.training import randomness


def _pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax()) * SAMPLE_RATE / len(samples)


def _tone(hertz: float, seconds: float = 3.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def test_recordings_shorter_than_asked_for_end_in_silence() -> None:
    drawn = recordings.draw([Recording(np.ones(10, np.float32))], 2, 1, randomness(0, 0))
    assert drawn.samples.tolist() == [[1.0] * 10 + [0.0] * (SAMPLES_PER_FRAME - 10)] * 2
    assert (drawn.labels == phonemes.UNKNOWN).all()


@pytest.mark.parametrize("speed", [0.85, 1.18])
def test_played_faster_is_shorter_and_higher(speed: float) -> None:
    played = recordings.play(_tone(440), speed)
    assert len(played) == round(3 * SAMPLE_RATE / speed)
    assert _pitch(played) == pytest.approx(440 * speed, rel=0.01)
    assert np.abs(played[2000:-2000]).max() == pytest.approx(1.0, abs=0.02)


def test_varied_stretches_have_other_pitches_and_levels() -> None:
    variety = Variety(share=1.0, speeds=(0.85, 1.18), decibels=(-9.0, 0.0))
    drawn = recordings.draw([Recording(_tone(440))], 40, 10, randomness(0, 0), variety).samples.numpy()
    pitches, levels = [_pitch(one) for one in drawn], np.abs(drawn).max(1)
    assert 440 * 0.83 < min(pitches) < 400 and 480 < max(pitches) < 440 * 1.2
    assert 0.33 < levels.min() < 0.6 and 0.8 < levels.max() < 1.02


def test_labels_follow_a_stretch_that_is_played_faster() -> None:
    """The first half of the recording is one sound, a tone of 300 Hz; the second another, of 600 Hz."""
    samples = np.concatenate([_tone(300, 1.5), _tone(600, 1.5)])
    recording = Recording(samples, np.repeat([1, 2], len(samples) // 2 // 600))
    for speed in (0.85, 1.0, 1.18):
        variety = Variety(share=float(speed != 1.0), speeds=(speed, speed), decibels=(0.0, 0.0))
        for step in range(10):
            drawn = recordings.draw([recording], 1, 4, randomness(0, step), variety)
            for frame, labels in zip(drawn.samples[0].reshape(4, -1).numpy(), drawn.labels[0].numpy(), strict=True):
                if labels[0] == labels[1]:
                    assert (_pitch(frame) > 450 * speed) == (labels[0] == 2)


def test_a_timeline_gives_each_phoneme_its_time_and_stress_the_sound_it_stresses() -> None:
    line = phonemes.timeline("h\u02c8O!", [2, 1, 1, 3, 2, 1])
    h, o = (phonemes.SOUNDS.index(symbol) + 1 for symbol in "hO")
    assert line.tolist() == [0, 0, h, o, o, o, o, 0, 0, 0]
    assert phonemes.timeline("", []).size == 0


def test_labels_are_silence_after_the_end() -> None:
    line = phonemes.timeline("h", [0, 4, 0])
    assert phonemes.labels(line, 0, 1.0, 2).tolist() == [[line[0], line[0]], [0, 0]]


def test_unvaried_stretches_are_the_recording_itself() -> None:
    tone = _tone(440)
    drawn = recordings.draw([Recording(tone)], 1, 10, randomness(0, 0), NONE).samples[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(tone, len(drawn))
    assert np.abs(windows - drawn).max(1).min() == 0
