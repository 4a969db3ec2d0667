"""`csm watermark`, with real recordings."""

from pathlib import Path

import pytest
import soundfile

from csm import cli
from csm.audio.watermark.marker import Marker
from csm.audio.watermark.perth import Perth
from tests import recordings
from tests.reference_audio import VOICE


def test_each_recording_gets_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = recordings.voice()[0]
    soundfile.write(tmp_path / "marked.wav", Marker(Perth.load()).process(speech.samples), speech.sample_rate)
    (tmp_path / "notes.txt").write_text("no sound")
    files = [str(tmp_path / "marked.wav"), str(VOICE), str(tmp_path / "notes.txt"), str(tmp_path / "missing.wav")]
    assert cli.main(["watermark", *files[:2]]) == 0
    marked, plain = capsys.readouterr().out.splitlines()
    assert marked.startswith(f"{files[0]}: marked, confidence 0.9") or marked.endswith(" 1.000")
    assert plain.startswith(f"{VOICE}: not marked, confidence 0.")
    assert cli.main(["watermark", *files[2:]]) == 1
    told = capsys.readouterr()
    assert "not audio" in told.err and "No such file" in told.err and not told.out
