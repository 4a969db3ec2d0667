"""What speakers are to say has one voice, and what is heard of them is left as it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.demo_model import pairs, phonetic, tokens
from recipes.demo_model.architecture import SAMPLE_RATE, CodecSize
from recipes.demo_model.resize import new_codec
from recipes.demo_model.speech import Sentence

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64, code_width=8)


@pytest.fixture
def sentences(tmp_path: Path) -> list[Sentence]:
    soundfile.write(tmp_path / "one.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    said = Sentence(tmp_path / "one.wav", "So it goes.", "ann", 1.0)
    return [said, said, replace(said, speaker="bob"), said]


def test_a_speaker_says_everything_in_the_most_frequent_voice(
    sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    voices = iter((7, 5, 9, 5))

    def encoded(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        voice = next(voices)
        return torch.tensor([[1, voice], [2, voice]]), torch.tensor([[3, voice], [4, voice + 1]])

    monkeypatch.setattr(phonetic, "encode", encoded)
    spoken = tokens.encode(codec, sentences)
    assert [one.codes.tolist() for one in spoken] == [[[1, voice], [2, voice]] for voice in (5, 5, 9, 5)]
    assert [one.heard.tolist() for one in spoken] == [[[3, voice], [4, voice + 1]] for voice in (7, 5, 9, 5)]


def test_a_voice_can_be_what_most_frames_are_heard_as(
    sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    beginning = [[1, 60]] * tokens.UNSETTLED

    def spoken(as_heard: str) -> list[tokens.Spoken]:
        voices = iter(((7, 7, 5), (5, 5, 5), (9, 8, 8), (7,)))

        def encoded(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
            heard = torch.tensor(beginning + [[3, voice] for voice in next(voices)])
            return heard, heard

        monkeypatch.setattr(phonetic, "encode", encoded)
        return tokens.encode(codec, sentences, as_heard=as_heard)

    own = spoken("sentence")
    assert [one.codes[0, 1] for one in own] == [7, 5, 8, 7] and all(
        (one.codes[:, 0] == one.heard[:, 0]).all() for one in own
    )
    assert [one.codes[0, 1] for one in spoken("speaker")] == [5, 5, 8, 5]


def test_other_codecs_keep_all_codes(sentences: list[Sentence]) -> None:
    codec = new_codec(0, SIZE)
    for said in tokens.encode(codec, sentences):
        assert np.array_equal(said.codes, said.heard)


def test_a_speaker_says_everything_in_the_voice_of_the_table(sentences: list[Sentence], tmp_path: Path) -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    table = tmp_path / phonetic.VOICES
    table.write_text(json.dumps({"ann": 7, "bob": 3, "ann@0.9": 6, "bob@0.9": 2}))
    spoken = tokens.encode(codec, sentences, (1.0, 0.9), table)
    assert {one.speaker: {*one.codes[:, 1].tolist()} for one in spoken} == {
        "ann": {7},
        "bob": {3},
        "ann@0.9": {6},
        "bob@0.9": {2},
    }
