import itertools
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from csm.audio import report
from csm.audio.condition import SAMPLE_RATE, condition
from csm.audio.decode import decode
from csm.audio.encoders import wav
from csm.audio.encoders.pcm import pcm16
from csm.audio.report import Report, examine
from csm.audio.waveform import Waveform
from csm.errors import UnusableReference
from tests import summary_tables
from tests.corpus.ffmpeg import encode
from tests.recordings import flite, librivox, voice

QUALITY = Path(__file__).parents[1] / "quality" / "data"
MUSIC = Path("/usr/share/asterisk/moh")
"""Five pieces by independent musicians: Debian's package asterisk-moh-opsound-wav."""
SENTENCES = (
    "Please call me back tomorrow morning after nine o'clock, and bring the papers that we talked about.",
    "We walked along the shore until the sun went down behind the hills, and nobody said a word.",
)
FINE = Report(seconds=10.0, snr_db=30.0, clipped_share=0.0, crest_db=11.0, loudness_lufs=-25.0, tonality=2.5)


def at_24_khz(waveform):
    samples = resample(torch.from_numpy(waveform.samples), waveform.sample_rate, SAMPLE_RATE).numpy()
    return 0.5 * samples / np.abs(samples).max()


@pytest.fixture(scope="module")
def voices():
    """About ten seconds of each voice that is at hand, by its name."""
    sounds = {"reader": [voice()[0], voice()[0]]}
    for line in (QUALITY / "index.jsonl").read_text().splitlines():
        clip = json.loads(line)
        sounds.setdefault(clip["speaker"], []).append(decode((QUALITY / clip["file"]).read_bytes(), 60.0))
    if clips := librivox():
        sounds["reader, other sentences"] = [sound for sound, _ in clips[1:4]]
    if shutil.which("flite"):
        sounds |= {f"flite {name}": [flite(text, name) for text in SENTENCES] for name in ("slt", "rms", "awb", "kal")}
    return {name: np.concatenate([at_24_khz(part) for part in parts]) for name, parts in sounds.items()}


def melody(count):
    """Two parts of plucked notes, with six partials each."""
    random = np.random.default_rng(5)
    scale = (220.0, 246.9, 277.2, 329.6, 370.0, 440.0, 493.9, 554.4)
    made = np.zeros(count + SAMPLE_RATE)
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for start in range(0, count, 9_600):
        for hertz in (random.choice(scale), random.choice(scale) / 2):
            partials = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 7))
            made[start : start + SAMPLE_RATE] += partials * np.exp(-2 * time)
    return made[:count]


def pink(count):
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)


def white(count):
    return np.random.default_rng(0).standard_normal(count)


def together(samples, other, ratio_db):
    """Both, the first that much louder."""
    return samples + other * np.sqrt(np.mean(samples**2) / np.mean(other**2) / 10 ** (ratio_db / 10))


def reported(samples, rate=SAMPLE_RATE):
    recording = Waveform(np.asarray(samples, np.float32), rate)
    return examine(recording, condition(recording, 30.0))


def codes(made):
    return {line.partition(":")[0] for line in report.warnings(made)}


def counted(reports):
    """How often each code was given."""
    found = [codes(one) for one in reports]
    return {code: sum(code in one for one in found) for code in ("noisy", "clipped", "music", "quiet", "short")}


@pytest.mark.slow
def test_the_noise_is_measured(voices, request):
    rows = []
    for name, noise in (("white", white), ("pink", pink)):
        for true in (0, 5, 10, 20, 30):
            found = [reported(together(v, noise(len(v)), true)) for v in voices.values()]
            measured = np.array([one.snr_db for one in found])
            rows.append((name, true, measured.mean(), measured.min(), measured.max(), counted(found)["noisy"]))
            if true <= 20:
                assert np.abs(measured - true).max() < 4
            assert counted(found)["noisy"] == (len(found) if true <= 10 else 0)
    header = ("noise", "SNR in dB", "measured", "least", "most", f"warned of {len(voices)}")
    summary_tables.add(request.config, "Reference audio in noise", header, rows)


def clipped(samples, gain):
    return 0.9 * np.clip(gain * samples / np.abs(samples).max(), -1, 1)


def as_webm(samples):
    source = wav.header(SAMPLE_RATE, 2 * len(samples)) + pcm16(samples.astype(np.float32))
    return decode(encode(suffix=".webm", source=source), 60.0)


@pytest.mark.slow
def test_what_each_fault_is_taken_for(voices, request):
    """The confusion: each fault against each warning. What is not clean is not always found, but clean speech is."""
    music = [melody(10 * SAMPLE_RATE)]
    for file in sorted(MUSIC.glob("*.wav")):
        samples, rate = soundfile.read(file, dtype="float32")
        music.append(at_24_khz(Waveform(samples[10 * rate : 25 * rate], rate)))
    speech = list(voices.values())
    backing = [np.resize(music[number % len(music)], len(one)) for number, one in enumerate(speech)]
    cases = {
        "clean": speech,
        "clipped, 3 dB too loud": [clipped(one, 1.41) for one in speech],
        "clipped, 6 dB too loud": [clipped(one, 2.0) for one in speech if _is_usable(clipped(one, 2.0))],
        "music alone": music,
        **{
            f"music {-ratio} dB": [together(one, tune, ratio) for one, tune in zip(speech, backing, strict=True)]
            for ratio in (0, 5, 10, 20)
        },
        "two voices at once": [
            together(one, np.resize(other, len(one)), 0) for one, other in itertools.pairwise(speech)
        ],
        "two voices in turns": [
            np.concatenate([one[:120_000], other[:120_000]]) for one, other in itertools.pairwise(speech)
        ],
    }
    found = {name: [reported(samples) for samples in all_samples] for name, all_samples in cases.items()}
    webm = [as_webm(clipped(one, 2.0)) for one in speech if _is_usable(clipped(one, 2.0))]
    found["the same as webm"] = [reported(one.samples, one.sample_rate) for one in webm if _is_usable(one.samples)]
    counts = {name: counted(reports) for name, reports in found.items()}
    rows = [(name, len(found[name]), *one.values()) for name, one in counts.items()]
    summary_tables.add(request.config, "Reference audio and its warnings", ("recording", "of", *counts["clean"]), rows)
    clean = counts["clean"]
    assert clean["noisy"] == clean["clipped"] == clean["quiet"] == clean["short"] == 0
    assert clean["music"] <= 1, "flite's slt speaks nearly as evenly as an instrument"
    for name in ("clipped, 3 dB too loud", "clipped, 6 dB too loud"):
        assert counts[name]["clipped"] == len(found[name])
    assert counts["music alone"]["music"] >= 0.8 * len(music)
    heard = [codes(one) & {"music", "noisy"} for one in found["music 0 dB"]]
    assert np.mean([bool(one) for one in heard]) >= 0.6


def _is_usable(samples):
    try:
        condition(Waveform(np.asarray(samples, np.float32), SAMPLE_RATE), 30.0)
    except UnusableReference:
        return False
    return True


def test_one_voice_with_each_fault():
    reader = np.tile(at_24_khz(voice()[0]), 2)[: 10 * SAMPLE_RATE]
    assert codes(reported(reader)) == set()
    assert codes(reported(together(reader, white(len(reader)), 10))) == {"noisy"}
    assert codes(reported(together(reader, white(len(reader)), 20))) == set()
    assert "only 0 dB below" in report.warnings(reported(white(len(reader))))[0]
    assert codes(reported(clipped(reader, 2.0))) == {"clipped"}
    assert codes(reported(together(reader, melody(len(reader)), 0))) == {"noisy", "music"}
    assert "music" in codes(reported(melody(len(reader))))


def test_loudness_is_that_of_the_recording(speech):
    loud = examine(speech, condition(speech, 30.0))
    soft = reported(0.01 * speech.samples, speech.sample_rate)
    assert loud.loudness_lufs - soft.loudness_lufs == pytest.approx(40, abs=0.2)
    assert -40 < loud.loudness_lufs < -10 and "quiet" in codes(soft) and "quiet" not in codes(loud)


def test_seconds_are_those_that_are_used(speech):
    padded = np.pad(speech.samples, 4 * speech.sample_rate)
    assert reported(padded, speech.sample_rate).seconds == pytest.approx(5.1, abs=0.3)


@pytest.mark.parametrize("gain", [0.05, 1.0, 30_000.0, 1e37])
def test_the_level_changes_nothing_else(speech, gain):
    usual, other = reported(speech.samples, speech.sample_rate), reported(gain * speech.samples, speech.sample_rate)
    assert replace(other, loudness_lufs=usual.loudness_lufs) == usual


def test_a_short_recording_is_not_judged_for_tones(speech):
    made = reported(speech.samples[24_000:96_000], speech.sample_rate)
    assert made.tonality is None and "short" in codes(made) and "music" not in codes(made)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"seconds": 4.9}, "short"),
        ({"snr_db": 14.9}, "noisy"),
        ({"clipped_share": 2e-4}, "clipped"),
        ({"crest_db": 8.4}, "clipped"),
        ({"loudness_lufs": -46.0}, "quiet"),
        ({"tonality": 3.8}, "music"),
    ],
)
def test_each_warning_says_what_to_do(change, code):
    assert report.warnings(FINE) == [] and report.warnings(replace(FINE, tonality=None)) == []
    (line,) = report.warnings(replace(FINE, **change))
    assert line.startswith(f"{code}: ") and line.endswith(".") and line.count(". ") == 1
    assert line.isascii() and line.isprintable() and ";" not in line


def test_it_is_plain_numbers(speech):
    assert json.loads(json.dumps(asdict(examine(speech, condition(speech, 30.0))))).keys() == asdict(FINE).keys()


def test_it_refuses_nothing():
    """A signal of one sign, a single click, and digital silence around: whatever `condition` lets pass."""
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    bursts = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) * np.random.default_rng(0).standard_normal(len(time))
    for samples in (bursts, np.abs(bursts), -np.abs(bursts), np.pad(bursts, 50_000)):
        assert all(value is None or np.isfinite(value) for value in asdict(reported(samples)).values())
