"""The data stage with a stand-in for Kokoro: plans repeat, runs resume, held-out voices stay out."""

import json
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from recipes.demo_model import data, heldout, label, speech
from recipes.demo_model.kokoro import STYLE_WIDTH, Style, Utterance

VOICES = {name: np.full((5, STYLE_WIDTH), number, np.float32) for number, name in enumerate(("af_a", "af_b", "am_c"))}
HELD_OUT = {name: np.zeros((5, STYLE_WIDTH), np.float32) for name in heldout.VOICES}
TEXTS = [f"Sentence number {chr(97 + index)}." for index in range(10)]


def _speak(text: str, style: Style, speed: float) -> Utterance:
    """A second of a tone per text; one text comes out broken."""
    if text == TEXTS[3]:
        return Utterance("", [], np.full(24_000, np.nan, np.float32))
    tone = np.sin(np.arange(24_000, dtype=np.float32) * (0.02 + 0.001 * TEXTS.index(text)))
    return Utterance(text.upper(), [1] * (len(text) + 2), tone * 0.1)


def _make(out: Path, seconds: float) -> list[dict]:
    data.make(_speak, data.plan(VOICES, TEXTS, seed=1), out, "s1", seconds)
    return [json.loads(line) for line in (out / speech.INDEX).read_text().splitlines()]


def test_a_resumed_run_makes_what_an_unbroken_one_makes(tmp_path: Path) -> None:
    whole = _make(tmp_path / "whole", seconds=12)
    _make(tmp_path / "parts", seconds=5)
    assert _make(tmp_path / "parts", seconds=12) == whole
    assert len(whole) == 12 and TEXTS[3] not in {entry["text"] for entry in whole}


def test_sentences_are_read_back_at_one_level(tmp_path: Path) -> None:
    _make(tmp_path, seconds=3)
    sentences = speech.read_training([tmp_path])
    assert [sentence.seconds for sentence in sentences] == [1.0] * 3
    assert np.abs(speech.load(sentences[0])).max() == pytest.approx(speech.PEAK, abs=1e-6)


def test_speech_is_written_as_flac_where_that_is_asked_for(tmp_path: Path) -> None:
    data.make(_speak, data.plan(VOICES, TEXTS, seed=1), tmp_path, "s1", 2, form="flac")
    sentences = speech.read_training([tmp_path])
    assert [sentence.path.name for sentence in sentences] == ["s1-00000.flac", "s1-00001.flac"]
    assert np.abs(speech.load(sentences[0])).max() == pytest.approx(speech.PEAK, abs=1e-3)


def test_each_speaker_says_several_sentences_and_no_text_comes_twice_in_a_round() -> None:
    planned = list(islice(data.plan(VOICES, TEXTS, seed=3), len(TEXTS)))
    assert sorted(text for _, text in planned) == sorted(TEXTS)
    assert [speaker.name for speaker, _ in planned[:4]] == [planned[0][0].name] * 4


def test_new_voices_say_one_sentence_each_and_lie_around_the_known_ones() -> None:
    voices = {f"a{'fm'[number % 2]}_{number}": np.full((5, STYLE_WIDTH), number, np.float32) for number in range(8)}
    planned = list(islice(data.plan_new(voices | HELD_OUT, TEXTS * 200, seed=1), 1000))
    assert planned[0][0].name != planned[1][0].name and len({speaker.name for speaker, _ in planned}) == 1000
    drawn = np.array([speaker.style[0, 0] for speaker, _ in planned])
    assert len(set(drawn.tolist())) == 1000 and drawn.min() < 0 and drawn.max() > 7
    normal = drawn[1::2]
    assert normal.mean() == pytest.approx(3.5, abs=0.3) and normal.std() == pytest.approx(np.std(range(8)), rel=0.15)


def test_known_speakers_take_turns_and_may_be_mixes() -> None:
    known = ["af_b", "af_a*0.7+af_b"]
    planned = list(islice(data.plan(VOICES, TEXTS, seed=3, known=known), 3 * data.SENTENCES_PER_SPEAKER))
    said = [speaker.name for speaker, _ in planned[:: data.SENTENCES_PER_SPEAKER]]
    assert said == ["af_b", "af_a*0.7+af_b", "af_b"]
    mixed = planned[data.SENTENCES_PER_SPEAKER][0]
    np.testing.assert_allclose(mixed.style, 0.7 * VOICES["af_a"] + 0.3 * VOICES["af_b"], rtol=1e-6)


def test_held_out_voices_are_never_planned_nor_read_for_training(tmp_path: Path) -> None:
    planned = islice(data.plan(VOICES | HELD_OUT, TEXTS, seed=0), 400)
    assert not any(voice in speaker.name for speaker, _ in planned for voice in heldout.VOICES)
    (tmp_path / speech.INDEX).write_text(
        json.dumps({"file": "a", "text": "", "speaker": "af_a*0.5+am_eric", "seconds": 1})
    )
    with pytest.raises(ValueError, match="held out"):
        speech.read_training([tmp_path])


def test_the_judges_set_is_every_held_out_voice_saying_every_text() -> None:
    pairs = {(speaker.name, text) for speaker, text in data.plan_held_out(HELD_OUT)}
    assert len(pairs) == len(heldout.VOICES) * len(heldout.TEXTS)


def test_mixes_keep_to_one_gender_and_average_styles() -> None:
    speakers = [data.draw_speaker(VOICES, random.Random(seed)) for seed in range(60)]
    mixed = [speaker for speaker in speakers if "+" in speaker.name]
    assert mixed and all(speaker.name.startswith("af") and "am_" not in speaker.name for speaker in mixed)
    for speaker in mixed:
        weight = float(speaker.name.split("*")[1].split("+")[0])
        share_of_b = 1 - weight if speaker.name.startswith("af_a") else weight
        assert speaker.style == pytest.approx(share_of_b)


def test_speech_of_unknown_timing_is_labelled_with_the_style_it_was_spoken_in(tmp_path: Path) -> None:
    known, unknown = {"file": "a", "durations": [7]}, {"file": "b", "phonemes": "xy", "speed": 1.5}
    index = tmp_path / speech.INDEX
    index.write_text(json.dumps(known) + "\n" + json.dumps(unknown | {"speaker": "af_a*0.5+am_c"}) + "\n")

    def durations(phonemes: str, style: Style, speed: float) -> list[int]:
        return [len(phonemes), int(style[0, 0]), int(2 * speed)]

    assert label.label(durations, VOICES, tmp_path) == 1
    assert [json.loads(line)["durations"] for line in index.read_text().splitlines()] == [[7], [2, 1, 3]]
