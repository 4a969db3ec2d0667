import numpy as np
import pytest

from benchmarks.watermark import ATTACKS, mark
from csm.audio.watermark.detect import THRESHOLD, detect
from csm.audio.waveform import Waveform
from csm.errors import UnusableReference


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_mark_survives_what_recordings_undergo(perth, clips, attack):
    assert min(detect(attack(mark(clip, perth)), perth) for clip in clips) >= THRESHOLD
    assert max(detect(attack(clip), perth) for clip in clips) < THRESHOLD / 2


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_101, 48_000, 192_000])
def test_recordings_of_any_rate_are_examined(perth, tone, voice, rate):
    # A tone of the right length stands for the recording: resampling by numpy is too coarse for speech.
    times = np.arange(int(len(voice) * rate / 24_000)) / rate
    for samples in (voice, mark(voice, perth)):
        resampled = np.interp(times, np.arange(len(voice)) / 24_000, samples).astype(np.float32)
        found = detect(Waveform(resampled, rate), perth)
        assert (found >= THRESHOLD) == (samples is not voice)


def test_loudness_does_not_matter(perth, voice):
    for gain in (0.05, 1.0, 30_000.0):
        marked, plain = np.float32(gain) * mark(voice, perth), np.float32(gain) * voice
        assert detect(Waveform(marked, 24_000), perth) >= THRESHOLD > detect(Waveform(plain, 24_000), perth)


def test_silence_and_noise_are_not_marked(perth):
    assert detect(Waveform(np.zeros(48_000, np.float32), 24_000), perth) == 0
    noise = (np.random.default_rng(1).standard_normal(48_000) / 5).astype(np.float32)
    assert detect(Waveform(noise, 24_000), perth) < THRESHOLD


@pytest.mark.parametrize(("seconds", "value"), [(0.0, 0.0), (0.49, 0.1), (1.0, np.nan), (1.0, np.inf)])
def test_what_cannot_be_examined_is_refused(perth, seconds, value):
    with pytest.raises(UnusableReference, match=r"too short|not finite"):
        detect(Waveform(np.full(int(seconds * 24_000), value, np.float32), 24_000), perth)
