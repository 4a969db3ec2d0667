"""Recordings from elsewhere become a folder of speech."""

from pathlib import Path

import numpy as np
import soundfile

from recipes.demo_model import librivox, speech


def test_recordings_become_sentences_at_our_rate(tmp_path: Path) -> None:
    time = np.arange(16_000) / 16_000
    for name in ("a-1", "a-2"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.sin(2 * np.pi * 440 * time), 16_000)
    (tmp_path / "transcription").write_text("<s> he was not ill </s> (a-1)\n<s> unless he was </s> (a-2)\n")
    assert librivox.convert(tmp_path, tmp_path / "out") == 2
    sentences = speech.read_index(tmp_path / "out")
    assert [one.text for one in sentences] == ["he was not ill", "unless he was"]
    samples = speech.load(sentences[0])
    assert len(samples) == 24_000 and abs(np.abs(np.fft.rfft(samples)).argmax() - 440) <= 1
