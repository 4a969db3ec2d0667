"""Files of voices are read as they were written, and everything else is refused."""

import struct

import numpy as np
import pytest

from csm.speech.voices.file import BrokenVoice, VoiceFile, parse_info, read_info
from csm.speech.voices.index import DEFAULT
from tests.corpus.voices import damaged, voice_file


def test_a_file_is_read_as_it_was_written(tmp_path):
    voice = voice_file(name="Zoë", transcript="Grüße, “quoted”\nnext.", report={"warnings": ["é"], "recordings": []})
    found = VoiceFile.from_bytes(voice.to_bytes(), "some-id")
    assert found.info == voice.info.__class__(**{**vars(voice.info), "id": "some-id"})
    assert found.samples.dtype == np.int16 and np.array_equal(found.samples, voice.samples)
    assert found.codes.keys() == {"c0"} and np.array_equal(found.codes["c0"], voice.codes["c0"])
    path = tmp_path / "some-id.safetensors"
    path.write_bytes(voice.to_bytes())
    assert read_info(path) == found.info


def test_ten_seconds_take_half_a_megabyte_and_their_codes_eight_kilobytes():
    plain, coded = voice_file(seconds=10), np.zeros((125, 32), np.int16)
    assert len(plain.to_bytes()) < 500_000 and coded.nbytes == 8000


@pytest.mark.parametrize(("name", "content"), [*damaged()], ids=[name for name, _ in damaged()])
def test_what_is_no_voice_is_refused(name, content):
    with pytest.raises(BrokenVoice) as refused:
        VoiceFile.from_bytes(content, "id")
    assert str(refused.value)


def test_a_header_is_judged_without_its_tensors():
    content = voice_file().to_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert parse_info(content[: 8 + length], len(content), "id").seconds == 2.0
    with pytest.raises(BrokenVoice, match="does not match"):
        parse_info(content[: 8 + length], len(content) - 1, "id")


@pytest.mark.parametrize("seed", range(300))
def test_a_file_with_changed_bytes_is_refused_or_within_bounds(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(voice_file().to_bytes())
    for _ in range(rng.integers(1, 5)):
        content[rng.integers(0, 900)] = rng.integers(0, 256)
    try:
        found = VoiceFile.from_bytes(bytes(content), "id")
    except BrokenVoice:
        return
    assert len(found.samples) == 48_000 and all(codes.shape == (25, 4) for codes in found.codes.values())


def test_the_default_voice_is_small_and_whole():
    voice = VoiceFile.from_bytes(DEFAULT.read_bytes(), "default")
    assert voice.info.name == "default" and voice.info.owner is None and "public domain" in voice.info.consent
    assert 5 < voice.info.seconds < 15 and DEFAULT.stat().st_size < 400_000
    assert 3000 < np.abs(voice.samples).max() <= 32767
