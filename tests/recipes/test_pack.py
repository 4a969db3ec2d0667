"""Speech to be carried: each folder has its share of the room, and sentences keep what is known of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.demo_model import pack, speech


def _folder(path: Path, name: str, count: int) -> list[speech.Sentence]:
    path.mkdir()
    entries = []
    for number in range(count):
        sound = 0.7 * np.sin(np.arange(12_000) * (0.02 + 0.01 * number))
        soundfile.write(path / f"{number}.flac", sound, 24_000)
        soundfile.write(path / f"{number}.flat.flac", sound / 2, 24_000)
        known = {"monotone": f"{number}.flat.flac", "pitch": 125.0} if name == "two" else {}
        known |= {"phonemes": "ab", "durations": [5, 5, 5, 5]}
        entries.append({"file": f"{number}.flac", "text": name, "speaker": name, "seconds": 0.5} | known)
    (path / speech.INDEX).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return speech.read_training([path])


def test_each_folder_has_its_share_and_no_more_is_written_than_fits(tmp_path: Path) -> None:
    folders = [_folder(tmp_path / name, name, 12) for name in ("one", "two")]
    everything = pack.pack(folders, tmp_path / "all", 1e9)
    size = sum(file.stat().st_size for file in (tmp_path / "all").glob("*.opus"))
    assert everything == 24
    count = pack.pack(folders, tmp_path / "half", size / 2)
    carried = speech.read_training([tmp_path / "half"])
    files = list((tmp_path / "half").glob("*.opus"))
    flat = [one for one in carried if one.monotone]
    assert sum(file.stat().st_size for file in files) <= size / 2
    assert count == len(carried) == len(files) - len(flat) and 6 <= count < 24
    assert {one.speaker for one in flat} == {"two"} and len(flat) == sum(one.speaker == "two" for one in carried)
    assert {one.pitch for one in flat} == {125}
    assert 2 * len(flat) == pytest.approx(len(files) / 2, abs=3)
    assert np.abs(speech.load_monotone(flat[0])).max() == pytest.approx(speech.PEAK, abs=1e-3)
    assert {(one.phonemes, one.durations) for one in carried} == {("ab", (5, 5, 5, 5))}
    assert np.abs(speech.load(carried[0])).max() == pytest.approx(speech.PEAK, abs=1e-3)
