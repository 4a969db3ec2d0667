"""The signals inside a codec are those of its own encoding and decoding, and stand beside the phonemes to come."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.demo_model import pairs, phonemes, signals, speech
from recipes.demo_model.architecture import SAMPLE_RATE, CodecSize
from recipes.demo_model.resize import new_codec
from recipes.demo_model.speech import Sentence

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64, code_width=8)
SOUNDS, DURATIONS = "ab", (8, 16, 20, 4)


def _sentence(folder: Path, speaker: str = "one", seconds: float = 1.2) -> Sentence:
    sound = 0.3 * np.sin(np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32) / 7)
    soundfile.write(folder / "a.flac", sound, SAMPLE_RATE)
    soundfile.write(folder / "flat.flac", sound[::-1], SAMPLE_RATE)
    return Sentence(folder / "a.flac", "Ab", speaker, seconds, SOUNDS, DURATIONS, folder / "flat.flac", 125.0)


@torch.inference_mode()
def test_both_ends_are_those_of_the_codec(tmp_path: Path) -> None:
    codec, sentence = new_codec(0, SIZE), _sentence(tmp_path)
    sound = speech.load(sentence)
    before = signals.encoded(codec, sound)
    padded = torch.from_numpy(np.pad(sound, (0, -len(sound) % 1920)))[None, None]
    torch.testing.assert_close(before, codec.encoder.encoder_seanet(padded)[0].T)
    again = codec.decoder.decoder_seanet(signals.needed(codec, before).T[None])
    torch.testing.assert_close(again, codec.decode(codec.encode(padded).audio_codes).audio_values)


def test_each_sentence_has_its_phonemes_its_sound_and_its_monotone(tmp_path: Path) -> None:
    codec, said = new_codec(0, SIZE), []
    for number, (speaker, seconds) in enumerate((("one", 1.2), ("two", 0.96), ("one", 1.2))):
        (tmp_path / str(number)).mkdir()
        said.append(_sentence(tmp_path / str(number), speaker, seconds))
    rows = signals.compute(codec, said)
    assert rows["frames"].tolist() == [15, 12, 15] and rows["speakers"].tolist() == [0, 1, 0]
    assert rows["pitches"].tolist() == [125, 125, 125] and rows["names"] == ["one", "two"]
    assert len(rows["before"]) == len(rows["after"]) == 2 * len(rows["codes"]) == 84
    line = phonemes.timeline(SOUNDS, DURATIONS)
    for codes, count in zip(rows["codes"].split([15, 12, 15]), (15, 12, 15), strict=True):
        assert torch.equal(codes.long(), pairs.first_codes(line, count, 64))
    middle, at = signals.encoded(codec, speech.load(said[1])), slice(30, 54)
    torch.testing.assert_close(rows["before"][at], middle.half())
    flat = signals.encoded(codec, speech.load_monotone(said[1]))
    torch.testing.assert_close(rows["after"][at], signals.needed(codec, flat).half())


def test_speech_without_monotones_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flatten"):
        signals.compute(new_codec(0, SIZE), [replace(_sentence(tmp_path), monotone=None)])
