"""Other speakers say each sentence, each also in a monotone, and a stopped run goes on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.demo_model import phonemes, speech
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.flatten import Change, flatten
from recipes.demo_model.monotone import pitch_of
from recipes.demo_model.speech import Sentence

DURATIONS = (8, 16, 20, 4)
CHANGES = (Change(), Change(1.25), Change(1.25, 1.6))


def _sentence(folder: Path, speaker: str, pitch: float, durations: tuple[int, ...] = DURATIONS) -> Sentence:
    """Return a hum whose pitch falls by a tenth."""
    count = sum(DURATIONS) * 600
    phase = 2 * np.pi * np.cumsum(np.linspace(1.05, 0.95, count) * pitch) / SAMPLE_RATE
    sound = sum(np.sin(order * phase) / order for order in range(1, 31))
    path = folder / f"{speaker}.flac"
    soundfile.write(path, (0.2 * sound).astype(np.float32), SAMPLE_RATE)
    return Sentence(path, "Mn", speaker, count / SAMPLE_RATE, "mn", durations)


def test_each_change_is_a_speaker_with_its_phonemes_and_its_monotone(tmp_path: Path) -> None:
    sentences = [
        _sentence(tmp_path, "low", 100),
        _sentence(tmp_path, "high", 200),
        _sentence(tmp_path, "unknown", 99, ()),
    ]
    assert flatten(sentences, CHANGES, tmp_path / "flat") == 6
    said = speech.read_index(tmp_path / "flat")
    assert [one.speaker for one in said] == [
        f"{who}{how}" for who in ("low", "high") for how in ("", "@1.25", "@1.25:1.6")
    ]
    for one, pitch in zip(said, (100, 125, 200, 200, 250, 400), strict=True):
        sound, monotone = speech.load(one), speech.load_monotone(one)
        assert len(sound) == len(monotone) == pytest.approx(one.seconds * SAMPLE_RATE, abs=200)
        assert pitch_of(sound) == pytest.approx(pitch, rel=0.05) and pitch_of(monotone) == pytest.approx(
            pitch, rel=0.02
        )
        assert len(phonemes.timeline(one.phonemes, one.durations)) == pytest.approx(len(sound) / 600, abs=1)
        assert one.pitch == pitch
        assert np.abs(sound).max() == pytest.approx(speech.PEAK, abs=1e-3)


def test_a_slower_pace_is_the_same_speaker_with_longer_phonemes(tmp_path: Path) -> None:
    flatten([_sentence(tmp_path, "low", 100)], [Change(), Change.parse("1:1:0.75")], tmp_path / "flat")
    usual, slower = speech.read_index(tmp_path / "flat")
    assert slower.speaker == usual.speaker and slower.pitch == usual.pitch
    assert slower.seconds == pytest.approx(usual.seconds / 0.75, abs=0.02)
    assert slower.durations == pytest.approx([duration / 0.75 for duration in usual.durations], abs=1)
    for load in (speech.load, speech.load_monotone):
        assert pitch_of(load(slower)) == pytest.approx(100, rel=0.05)
    for one in (usual, slower):
        beginning, end = np.array_split(speech.load(one), 2)
        assert pitch_of(beginning) == pytest.approx(102.5, rel=0.02) and pitch_of(end) == pytest.approx(97.5, rel=0.02)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    sentences = [_sentence(tmp_path, "low", 100), _sentence(tmp_path, "high", 200)]
    flatten(sentences, CHANGES[:2], tmp_path / "whole")
    index = (tmp_path / "whole" / speech.INDEX).read_text()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / speech.INDEX).write_text("".join(index.splitlines(keepends=True)[:3]))
    assert flatten(sentences, CHANGES[:2], tmp_path / "parts") == 4
    assert (tmp_path / "parts" / speech.INDEX).read_text() == index
    assert [path.name for path in sorted((tmp_path / "parts").glob("*.flac"))] == ["00003.flac", "00003.monotone.flac"]


def test_speech_without_durations_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label"):
        flatten([_sentence(tmp_path, "low", 100, ())], CHANGES, tmp_path / "flat")


def test_changes_are_read_from_the_command_line() -> None:
    assert Change.parse("0.9") == Change(0.9) and Change.parse("1.1:1.6") == Change(1.1, 1.6)
