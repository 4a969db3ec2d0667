from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from csm.audio.condition import condition
from csm.audio.decode import MAX_RATE, MIN_RATE, decode, ffmpeg_path
from csm.audio.sandbox import Limits
from csm.errors import DeadlineExceeded, ModelUnavailable, UndecodableAudio
from tests.corpus.ffmpeg import encode, speech_wav
from tests.corpus.riff import wav
from tests.corpus.valid import NAMES, valid
from tests.reference_audio import VOICE

HALF_A_SECOND = Limits(output_bytes=1_000_000, wall_seconds=0.5)
# A parametric codec keeps the words, not the waveform.
RESEMBLANCE = {"3gp-amr": 0.4}


def resemblance(a, b):
    """Highest correlation of two sounds over all shifts."""
    size = 1 << (len(a) + len(b)).bit_length()
    crossed = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)))
    return float(crossed.max() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def said(speech):
    return condition(speech, 30.0)


def test_resemblance_tells_one_sentence_from_another(said):
    half = len(said.samples) // 2
    assert resemblance(said.samples[:half], said.samples[half:]) < 0.2


def tone_levels(samples, rate, *frequencies):
    """Amplitude of each frequency, which must fit a whole number of times."""
    spectrum = np.abs(np.fft.rfft(samples[:rate])) * 2 / rate
    return [float(spectrum[f]) for f in frequencies]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_that_clients_send_decodes_to_the_same_speech(name, said):
    case = next(case for case in valid() if case.name == name)
    heard = condition(decode(case.data, 30.0), 30.0)
    assert resemblance(heard.samples, said.samples) > RESEMBLANCE.get(name, 0.8 if "chromium" in name else 0.93)
    assert "chromium" in name or heard.seconds == pytest.approx(said.seconds, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_101, 96_000, 192_000])
def test_the_sample_rate_of_the_file_is_kept(rate):
    waveform = decode(encode("-ar", str(rate), suffix=".wav"), 30.0)
    assert waveform.sample_rate == rate
    assert waveform.seconds == pytest.approx(5.0, abs=0.01)


def test_samples_are_exact_contiguous_and_writable():
    samples = np.array([0, 0.25, -1, 3.5, np.nan], np.float32).repeat(1000)
    made = decode(wav(samples.tobytes(), tag=3, bits=32), 5.0).samples
    np.testing.assert_array_equal(made, samples)
    assert made.dtype == np.float32 and made.flags.c_contiguous and made.flags.writeable


def test_surround_is_mixed_by_the_usual_weights_without_the_low_frequency_channel():
    """Front sides and surrounds are 3 and 6 dB below the centre as ITU-R BS.775 mixes them."""
    tones = [400, 500, 600, 50, 700, 800]
    graph = "aevalsrc=" + "|".join(f"sin(2*PI*{f}*t)/8" for f in tones) + ":c=5.1:s=48000:d=2"
    waveform = decode(encode("-f", "lavfi", "-i", graph, "-c:a", "pcm_f32le", suffix=".wav"), 5.0)
    left, right, centre, low, *surrounds = tone_levels(waveform.samples, 48_000, *tones)
    assert left / centre == pytest.approx(right / centre) == pytest.approx(0.707, abs=0.01)
    assert [level / centre for level in surrounds] == pytest.approx([0.5, 0.5], abs=0.01)
    assert low < 0.01 * centre


def test_decoding_ends_at_the_limit():
    assert decode(speech_wav(), 2.0).seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("rate", [1, MIN_RATE - 1, MAX_RATE + 1, 2**31 - 1])
def test_sample_rates_out_of_range_are_refused(rate):
    with pytest.raises(UndecodableAudio, match=rf"rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz"):
        decode(wav(bytes(200_000), rate=rate), 30.0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a shopping list", "not audio that can be decoded"),
        (wav(b""), "no samples"),
        (encode("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4", suffix=".mp4"), "with an audio track"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_which_formats_are_accepted(data, reason):
    with pytest.raises(UndecodableAudio, match=reason) as refusal:
        decode(data, 30.0)
    assert "send wav, mp3" in str(refusal.value)


def test_more_output_than_fits_is_refused():
    with pytest.raises(UndecodableAudio, match="expands"):
        decode(speech_wav(), 30.0, limits=Limits(output_bytes=10_000))


def test_decoding_needs_little_memory_every_time():
    """Far below the limit that is set: threads that reserve memory each for itself fail here, every time."""
    scarce = Limits(output_bytes=10_000_000, memory_bytes=350 << 20)
    recording = VOICE.read_bytes()
    assert np.array_equal(decode(recording, 30.0, limits=scarce).samples, decode(recording, 30.0).samples)


def test_a_decoder_that_runs_out_of_memory_makes_the_file_undecodable():
    with pytest.raises(UndecodableAudio):
        decode(speech_wav(), 30.0, limits=Limits(output_bytes=1_000_000, memory_bytes=100 << 20))


def test_a_decoder_that_hangs_is_a_missed_deadline(fake_ffmpeg):
    fake_ffmpeg("exec /bin/sleep 60")
    with pytest.raises(DeadlineExceeded, match="Try again"):
        decode(b"x", 30.0, limits=HALF_A_SECOND)


def test_a_file_that_takes_too_much_processor_time_is_undecodable(fake_ffmpeg):
    fake_ffmpeg("while :; do :; done")
    with pytest.raises(UndecodableAudio, match="too long"):
        decode(b"x", 30.0, limits=Limits(output_bytes=100, cpu_seconds=1, wall_seconds=60))


@pytest.mark.parametrize("script", ["kill -SEGV $$", "exit 1", "echo nonsense that is longer than a header", ":"])
def test_a_decoder_that_crashes_or_writes_nonsense_makes_the_file_undecodable(fake_ffmpeg, script):
    fake_ffmpeg(script)
    with pytest.raises(UndecodableAudio):
        decode(b"x", 30.0)


def test_a_decoder_that_was_deleted_makes_the_server_unavailable(fake_ffmpeg):
    program = fake_ffmpeg(":")
    ffmpeg_path()
    program.unlink()
    with pytest.raises(ModelUnavailable, match="cannot be started"):
        decode(b"x", 30.0)


@pytest.mark.parametrize("old", ["echo Unknown protocol", "exit 1"])
def test_an_old_ffmpeg_is_refused_with_the_remedy(fake_ffmpeg, old):
    fake_ffmpeg(":", options=old)
    with pytest.raises(ModelUnavailable, match="pip install imageio-ffmpeg"):
        ffmpeg_path()


def test_a_missing_ffmpeg_is_refused(monkeypatch, fake_ffmpeg):
    fake_ffmpeg(":").unlink()
    with pytest.raises(ModelUnavailable):
        ffmpeg_path()


def test_the_ffmpeg_on_the_path_is_used_when_the_named_one_is_unusable(fake_ffmpeg, monkeypatch, tmp_path):
    program = fake_ffmpeg(":")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nonexistent/ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_path() == str(program)


def test_many_threads_decode_at_once(speech):
    with ThreadPoolExecutor(8) as pool:
        waveforms = list(pool.map(lambda _: decode(speech_wav(), 30.0), range(16)))
    assert all(np.array_equal(waveform.samples, speech.samples) for waveform in waveforms)
