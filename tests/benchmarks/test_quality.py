import numpy as np
import pytest

from benchmarks import consistency, quality
from csm.settings import load
from csm.speech.frontend import TextFrontend
from recipes.demo_model import judges, speech


@pytest.fixture(scope="module")
def judged():
    try:
        judges.load()
    except judges.JudgeMissing as missing:
        pytest.skip(str(missing))


def test_each_voice_is_cloned_from_a_recording_of_another_text():
    chosen = quality.jobs(quality.SPEECH, seeds=2)
    assert len(chosen) == 24
    for job in chosen:
        assert job.reference.speaker != job.stranger.speaker
        assert job.text not in (job.reference.text, job.stranger.text)


@pytest.mark.slow
def test_a_row_tells_speech_from_silence(judged):
    chosen = quality.jobs(quality.SPEECH, seeds=1)[:1]
    said = next(one for one in speech.read_index(quality.SPEECH) if one.text == chosen[0].text)
    good, silent = speech.load(said), np.zeros(48_000, np.float32)
    assert quality.row("good", chosen, [good], [good]).endswith("| 100% | 100% |")
    assert quality.row("bad", chosen, [silent], [good]).startswith("| bad | 100.0% |")


def test_the_long_text_is_long_enough():
    script = TextFrontend(load(None)).prepare(consistency.long_text(4 * consistency.SEGMENTS))
    assert len(script.segments) >= consistency.SEGMENTS
    assert len({segment.text for segment in script.segments}) == len(script.segments)


@pytest.mark.slow
def test_a_segment_is_measured(judged):
    said = speech.read_index(quality.SPEECH)[0]
    samples = speech.load(said)
    measured = consistency.Measured.of(said.text, samples, samples)
    assert measured.similarity == pytest.approx(1)
    assert -40 < measured.lufs < -5
    assert 1 < measured.words_per_second < 5
    assert measured.wrong < 0.2
    assert consistency.Measured.of(said.text, samples * np.float32(0.5), samples).lufs == pytest.approx(
        measured.lufs - 6.02, abs=0.3
    )


@pytest.mark.slow
def test_all_ways_and_segments_are_measured(judged, tiny, capsys, monkeypatch):
    """A model with random weights does not end, so its whole answers are generated again, and its streams are not."""
    settings = load(None, model=str(tiny()), device="cpu", max_audio_seconds=0.8)
    rows = list(quality.measure(settings, quality.jobs(quality.SPEECH, seeds=1)[:2]))
    assert len(rows) == 6
    assert [row.endswith("| 100% |") for row in rows[:3]] == [True, True, False]
    monkeypatch.setenv("CSM_MAX_AUDIO_SECONDS", "0.8")
    monkeypatch.setattr("sys.argv", ["consistency", "--model", str(tiny())])
    consistency.main()
    table = capsys.readouterr().out
    assert "| 20 |" in table and "| quarter 4 |" in table
