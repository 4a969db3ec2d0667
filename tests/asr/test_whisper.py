import numpy as np
import pytest

from csm.asr.check import FILES
from csm.asr.whisper import WhisperRecognizer
from csm.audio.waveform import Waveform
from csm.errors import ModelUnavailable
from recipes.demo_model.judges import word_error_rate
from tests import summary_tables
from tests.recordings import librivox, voice

pytestmark = pytest.mark.slow  # as all tests that need the packages of requirements-quality.txt
RATE = 24_000
SECONDS = 8
TIME = np.arange(SECONDS * RATE) / RATE


def chord(*hertz):
    return sum(np.sin(2 * np.pi * one * TIME) for one in hertz) * np.exp(-4 * (TIME % 0.5)) / len(hertz)


def pink():
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(len(TIME)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)))
    return 0.1 * noise / noise.std()


def bursts():
    envelope = np.clip(np.sin(2 * np.pi * 3 * TIME), 0, None) ** 2
    return 0.2 * envelope * np.random.default_rng(2).standard_normal(len(TIME))


SPEECHLESS = {
    "silence": np.zeros(len(TIME)),
    "white noise": 0.1 * np.random.default_rng(0).standard_normal(len(TIME)),
    "pink noise": pink(),
    "noise in bursts": bursts(),
    "a tone": 0.2 * np.sin(2 * np.pi * 440 * TIME),
    "a hum": 0.2 * chord(50, 100, 150, 250),
    "chords": 0.3 * chord(220, 277.2, 329.6, 440),
    "clicks": 0.5 * (np.random.default_rng(3).random(len(TIME)) < 5e-4),
}


def waveform(samples):
    return Waveform(np.asarray(samples, np.float32), RATE)


def test_the_words_of_real_recordings_are_recognised(whisper, request):
    clips = {"examples/voice.webm": voice()}
    clips |= {f"LibriVox {number}": clip for number, clip in enumerate(librivox() or [], 1)}
    heard = {name: whisper.recognize(sound) for name, (sound, _) in clips.items()}
    errors = {name: word_error_rate(clips[name][1], words) for name, words in heard.items() if words}
    rows = [(name, errors.get(name, "none")) for name in clips]
    summary_tables.add(request.config, "Words by Whisper tiny.en", ("recording", "word error rate"), rows)
    assert errors.keys() == clips.keys()
    assert np.mean(list(errors.values())) < 0.2 and max(errors.values()) < 0.5


def test_words_come_on_one_line_with_their_punctuation(whisper):
    words = whisper.recognize(voice()[0])
    # Whether it hears the first word depends on the processor.
    assert "John Dashwood" in words and words.endswith("do for them.") and "  " not in words and "\n" not in words


@pytest.mark.parametrize("name", SPEECHLESS)
def test_no_words_are_invented_where_nobody_speaks(whisper, name):
    assert whisper.recognize(waveform(SPEECHLESS[name])) is None


@pytest.mark.parametrize("name", SPEECHLESS)
def test_nor_without_the_voice_detector(whisper, name, monkeypatch):
    """What the thresholds alone withhold: the detector may take music or a cough for speech."""
    transcribe = whisper._model.transcribe
    monkeypatch.setattr(
        whisper._model, "transcribe", lambda samples, **given: transcribe(samples, **given | {"vad_filter": False})
    )
    assert whisper.recognize(waveform(SPEECHLESS[name])) is None


def test_speech_that_drowns_in_noise_has_no_transcript(whisper, request):
    """Either most words are right, or there are none: a guess would be worse."""
    rows, clips = [], librivox() or [voice()]
    for snr in (20, 5, 0, -5):
        heard = [(whisper.recognize(noisy(sound, snr)), words) for sound, words in clips]
        errors = [word_error_rate(words, text) for text, words in heard if text]
        rows.append((snr, len(heard), len(errors), np.mean(errors) if errors else "", max(errors, default="")))
    header = ("SNR in dB", "recordings", "recognised", "word error rate", "worst")
    summary_tables.add(request.config, "Words in white noise, by Whisper tiny.en", header, rows)
    assert rows[0][2] == len(clips) and rows[-1][2] == 0
    assert all(float(row[3]) < 0.5 for row in rows if row[2])


def noisy(sound, snr):
    noise = np.random.default_rng(0).standard_normal(len(sound.samples))
    noise *= np.sqrt(np.mean(sound.samples**2) / np.mean(noise**2) / 10 ** (snr / 10))
    return Waveform((sound.samples + noise).astype(np.float32), sound.sample_rate)


def test_a_damaged_model_is_told(folder, tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded \(RuntimeError\): check the name"):
        WhisperRecognizer(str(tmp_path))


def test_an_unknown_name_is_told(folder):
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded \(ValueError\): check the name"):
        WhisperRecognizer("base-en")


def test_a_model_that_cannot_be_downloaded_is_told(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded \(\w+\): .* the network"):
        WhisperRecognizer("owner/no-such-repository")
