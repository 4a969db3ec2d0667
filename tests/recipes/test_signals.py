"""The signals inside a codec are those of its own encoding and decoding, and stand beside the phonemes to come."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.demo_model import pairs, phonemes, signals, speech
from recipes.demo_model.architecture import SAMPLE_RATE, CodecSize
from recipes.demo_model.resize import new_codec
from recipes.demo_model.signals import Change
from recipes.demo_model.speech import Sentence

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64, code_width=8)
SOUNDS, DURATIONS = "ab", (8, 16, 20, 4)


def _sentence(folder: Path, durations: tuple[int, ...] = DURATIONS) -> Sentence:
    sound = 0.3 * np.sin(np.arange(sum(DURATIONS) * 600, dtype=np.float32) / 7)
    soundfile.write(folder / "a.flac", sound, SAMPLE_RATE)
    return Sentence(folder / "a.flac", "Ab", "one", len(sound) / SAMPLE_RATE, SOUNDS, durations)


@torch.inference_mode()
def test_both_ends_are_those_of_the_codec(tmp_path: Path) -> None:
    codec, sentence = new_codec(0, SIZE), _sentence(tmp_path)
    sound = speech.load(sentence)
    before = signals.encoded(codec, sound)
    padded = torch.from_numpy(np.pad(sound, (0, -len(sound) % 1920)))[None, None]
    torch.testing.assert_close(before, codec.encoder.encoder_seanet(padded)[0].T)
    again = codec.decoder.decoder_seanet(signals.needed(codec, before).T[None])
    torch.testing.assert_close(again, codec.decode(codec.encode(padded).audio_codes).audio_values)


def test_each_change_is_an_utterance_with_its_phonemes(tmp_path: Path) -> None:
    pytest.importorskip("pyworld")
    sentence, unknown = _sentence(tmp_path), _sentence(tmp_path, ())
    rows = signals.compute(new_codec(0, SIZE), [sentence, unknown], (Change(), Change(1.25), Change(1.25, 1.5)))
    assert rows["frames"].tolist() == [15, 12, 12] and rows["speakers"].tolist() == [0, 1, 2]
    assert len(rows["before"]) == len(rows["after"]) == 2 * len(rows["codes"]) == 78
    assert not torch.equal(rows["before"][30:54], rows["before"][54:])
    line = phonemes.timeline(SOUNDS, DURATIONS)
    for codes, speed in zip(rows["codes"].split([15, 12, 12]), (1.0, 1.25, 1.25), strict=True):
        labels = phonemes.labels(line, pairs.AHEAD * speed, speed, len(codes))
        assert torch.equal(codes.long(), pairs.codes_of(torch.from_numpy(labels), 64))


def test_speech_without_durations_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label"):
        signals.compute(new_codec(0, SIZE), [_sentence(tmp_path, ())], (Change(),))


def test_changes_are_read_from_the_command_line() -> None:
    assert Change.parse("0.9") == Change(0.9) and Change.parse("1.1:1.6") == Change(1.1, 1.6)
