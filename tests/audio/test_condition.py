import re
import subprocess

import numpy as np
import pytest

from csm.audio.condition import LOUDNESS, PEAK, SAMPLE_RATE, condition
from csm.audio.decode import decode, ffmpeg_path
from csm.audio.encoders import wav
from csm.audio.encoders.pcm import pcm16
from csm.audio.waveform import Waveform
from csm.errors import UnusableReference
from tests.corpus.ffmpeg import encode


def changed(speech, samples, rate=None):
    return Waveform(np.asarray(samples, np.float32), rate or speech.sample_rate)


def padded(speech, seconds):
    return changed(speech, np.pad(speech.samples, int(seconds * speech.sample_rate)))


def loudness_by_ffmpeg(waveform):
    """Integrated loudness as ffmpeg's EBU R 128 meter has it."""
    data = wav.header(waveform.sample_rate, 2 * len(waveform.samples)) + pcm16(waveform.samples)
    command = [ffmpeg_path(), "-nostats", "-hide_banner", "-i", "pipe:0", "-af", "ebur128", "-f", "null", "-"]
    report = subprocess.run(command, input=data, check=True, capture_output=True, timeout=60).stderr.decode()
    return float(re.findall(r"I: +(-[\d.]+) LUFS", report)[-1])


def test_the_result_is_24_khz_mono_without_offset(speech):
    made = condition(speech, 30.0)
    assert made.sample_rate == SAMPLE_RATE
    assert made.samples.dtype == np.float32 and made.samples.flags.c_contiguous and made.samples.ndim == 1
    assert made.seconds == pytest.approx(4.86, abs=0.1)
    assert abs(made.samples.mean()) < 1e-4 and np.abs(made.samples).max() <= PEAK


@pytest.mark.parametrize("gain", [0.02, 0.3, 1.0, 30_000.0])
def test_loudness_is_levelled_whatever_the_input_level(speech, gain):
    made = condition(changed(speech, gain * speech.samples), 30.0)
    assert loudness_by_ffmpeg(made) == pytest.approx(LOUDNESS, abs=0.3)


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100, 44_101, 48_000, 192_000])
def test_pieces_are_resampled_to_what_the_whole_would_be(rate, monkeypatch):
    time = np.arange(2 * rate + 7) / rate
    made = []
    for piece in (rate // 3, 10**9):
        monkeypatch.setattr("csm.audio.condition._PIECE", piece)
        samples = (np.sin(2 * np.pi * 220 * time) ** 9 * time).astype(np.float32)
        made.append(condition(Waveform(samples, rate), 30.0).samples)
    np.testing.assert_allclose(made[0], made[1], atol=2e-4)


def test_peaks_stay_below_the_ceiling_at_the_cost_of_loudness(speech):
    peaky = speech.samples.copy()
    peaky[100_000:100_050] = 8 * np.abs(peaky).max() * np.hanning(50)
    made = condition(changed(speech, peaky), 30.0)
    assert np.abs(made.samples).max() == pytest.approx(PEAK, rel=1e-3)
    assert loudness_by_ffmpeg(made) < LOUDNESS - 3


def test_an_offset_is_removed(speech):
    level, raised = condition(speech, 30.0), condition(changed(speech, speech.samples + 0.4), 30.0)
    np.testing.assert_allclose(raised.samples, level.samples, atol=2e-3)


def test_silence_at_the_edges_is_cut_to_a_margin(speech):
    assert condition(padded(speech, 3.0), 30.0).seconds == pytest.approx(speech.seconds, abs=0.3)


def test_noise_and_clicks_at_the_edges_do_not_count_as_sound(speech):
    rng = np.random.default_rng(0)
    noisy = padded(speech, 3.0).samples + 0.001 * rng.standard_normal(11 * speech.sample_rate).astype(np.float32)
    noisy[[5_000, 60_000, -9_000]] = 0.9
    assert condition(changed(speech, noisy), 30.0).seconds == pytest.approx(speech.seconds, abs=0.4)


def test_pauses_within_are_kept(speech):
    twice = np.concatenate([speech.samples, np.zeros(speech.sample_rate, np.float32), speech.samples])
    assert condition(changed(speech, twice), 30.0).seconds == pytest.approx(11.0, abs=0.3)


def test_a_long_recording_is_cut_in_its_last_pause(speech):
    pause = np.zeros(speech.sample_rate // 2, np.float32)
    many = np.concatenate([part for _ in range(4) for part in (speech.samples, pause)])
    made = condition(changed(speech, many), 18.0)
    assert 15.6 < made.seconds < 16.6, "the third pause lies between 16.0 and 16.5 s of which the start is trimmed"
    assert np.abs(made.samples[-480:]).max() < 0.01


def test_a_long_recording_without_pauses_is_cut_in_its_last_quarter(speech):
    rng = np.random.default_rng(0)
    made = condition(changed(speech, 0.1 * rng.standard_normal(20 * speech.sample_rate)), 8.0)
    assert 6.0 <= made.seconds <= 8.0


@pytest.mark.parametrize("rate", [8_000, 44_101, 96_000, 191_999])
def test_pitch_and_length_survive_any_rate(rate):
    """A voice-like chord that is loud and soft in turns; an odd rate is approximated, a voice would not hear it."""
    time = np.arange(4 * rate) / rate
    chord = (1 + np.sin(2 * np.pi * 4 * time)) * sum(np.sin(2 * np.pi * f * time + f) / f for f in (200, 400, 600, 800))
    made = condition(Waveform(chord.astype(np.float32), rate), 30.0)
    spectrum = np.abs(np.fft.rfft(made.samples * np.hanning(len(made.samples)), 8 * SAMPLE_RATE))
    assert made.seconds == pytest.approx(4.0, abs=0.1)
    assert np.argmax(spectrum) / 8 == pytest.approx(200, abs=0.25)


def test_what_is_too_high_for_the_new_rate_does_not_fold_back(speech):
    whistle = 0.1 * np.sin(2 * np.pi * 17_000 * np.arange(len(speech.samples)) / speech.sample_rate)
    with_whistle = condition(changed(speech, speech.samples + whistle), 30.0)
    np.testing.assert_allclose(with_whistle.samples[4800:-4800], condition(speech, 30.0).samples[4800:-4800], atol=2e-3)


def test_too_short_is_refused_with_both_numbers(speech):
    with pytest.raises(UnusableReference, match=r"has 0\.[34]\d s of sound; at least 1 s is needed"):
        condition(changed(speech, speech.samples[24_000:43_200]), 30.0)


def test_length_counts_sound_and_not_the_silence_around_it(speech):
    short = changed(speech, speech.samples[24_000:43_200])
    with pytest.raises(UnusableReference, match="at least 1 s is needed"):
        condition(padded(short, 5.0), 30.0)


@pytest.mark.parametrize("samples", [np.zeros(96_000), np.full(96_000, 0.5), 1e-5 * np.sin(np.arange(96_000))])
def test_silence_is_refused(speech, samples):
    with pytest.raises(UnusableReference, match="silent"):
        condition(changed(speech, samples), 30.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_refused(speech, value):
    spoilt = speech.samples.copy()
    spoilt[1000] = value
    with pytest.raises(UnusableReference, match="not finite"):
        condition(changed(speech, spoilt), 30.0)


def test_no_samples_are_refused(speech):
    with pytest.raises(UnusableReference, match="empty"):
        condition(changed(speech, []), 30.0)


def test_values_near_the_end_of_the_range_do_no_harm(speech):
    made = condition(changed(speech, speech.samples / np.abs(speech.samples).max() * np.float32(3e38)), 30.0)
    np.testing.assert_allclose(made.samples, condition(speech, 30.0).samples, atol=2e-3)


@pytest.mark.parametrize("form", [".wav", ".mp3", ".webm"])
def test_clipping_is_refused_even_after_a_lossy_codec_and_at_a_low_level(speech, form):
    loud = np.clip(20 * speech.samples / np.abs(speech.samples).max(), -1, 1) * 0.2
    recorded = encode(suffix=form, source=wav.header(48_000, 2 * len(loud)) + pcm16(loud.astype(np.float32)))
    with pytest.raises(UnusableReference, match="clipped"):
        condition(decode(recorded, 30.0), 30.0)


def test_a_little_clipping_is_tolerated(speech):
    loud = np.clip(2 * speech.samples / np.abs(speech.samples).max(), -1, 1)
    assert condition(changed(speech, loud), 30.0).seconds > 4


def test_the_input_is_left_as_it_was(speech):
    before = speech.samples.copy()
    condition(speech, 30.0)
    np.testing.assert_array_equal(speech.samples, before)


@pytest.mark.parametrize(
    "effect",
    [
        "volume=20dB,alimiter=limit=0.9:attack=1:release=20",
        "acompressor=threshold=0.03:ratio=20:attack=1:release=50:makeup=8",
        "highpass=300,lowpass=3400",
    ],
)
def test_limited_compressed_and_telephone_speech_is_not_taken_for_clipped(effect):
    assert condition(decode(encode("-af", effect, suffix=".wav"), 30.0), 30.0).seconds > 4
