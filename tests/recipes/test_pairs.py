"""First codes that are phonemes: which code a frame has, and whether a codec has such codes."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.architecture import SAMPLE_RATE, CodecSize
from recipes.demo_model.evaluate import resynthesise
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.resize import new_codec

CODES = 64
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=CODES, code_width=8)


def test_every_phoneme_has_a_code_and_no_pair_has_two() -> None:
    listed = pairs.pairs()
    assert len(set(listed)) == len(listed) == 511
    assert set(listed[: phonemes.CLASSES]) == {(sound, sound) for sound in range(phonemes.CLASSES)}


def test_a_pair_has_its_own_code_or_that_of_its_rarer_phoneme() -> None:
    table = pairs.table(512)
    for code, pair in enumerate(pairs.pairs(), 1):
        assert table[pair] == code
    th, silence = phonemes.SOUNDS.index("θ") + 1, phonemes.SILENCE
    rare = phonemes.SOUNDS.index("ʒ") + 1
    assert (th, rare) not in pairs.pairs() and (silence, rare) not in pairs.pairs()[:CODES]
    assert table[th, rare] == max(table[th, th], table[rare, rare])
    assert pairs.table(CODES)[silence, rare] == table[rare, rare]


def test_too_few_codes_for_the_phonemes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot tell"):
        pairs.table(phonemes.CLASSES)


def test_unknown_labels_have_no_code() -> None:
    labels = torch.tensor([[[0, 0], [phonemes.UNKNOWN, 0], [1, phonemes.UNKNOWN]]])
    assert pairs.codes_of(labels, CODES).tolist() == [[1, phonemes.UNKNOWN, phonemes.UNKNOWN]]


def _line(*parts: tuple[str, int]) -> phonemes.Labels:
    """Return the timeline of symbols with their durations in units of 25 ms; "_" is silence."""
    return np.concatenate([np.full(length, phonemes.SOUNDS.find(symbol) + 1) for symbol, length in parts])


def _said(line: phonemes.Labels, speed: float = 1.0) -> str:
    """Return a letter per 40 ms for the first codes of a timeline."""
    frames = -(-int(len(line) / speed) * 600 // 1920)
    of_code = [(0, 0), *pairs.pairs()]
    codes = pairs.first_codes(line, frames, 512, speed).tolist()
    return "".join(("_" + phonemes.SOUNDS)[one] for code in codes for one in of_code[code])


def test_codes_are_ahead_of_the_audio() -> None:
    assert _said(_line(("_", 8), ("s", 8), ("_", 8), ("_", 8))) == "____sssss" + "_" * 11


def test_a_phoneme_between_two_labels_gets_one_of_its_longer_neighbour() -> None:
    line = _line(("_", 8), ("s", 6), ("ə", 1), ("n", 4), ("_", 9))
    assert phonemes.SOUNDS.index("ə") + 1 not in phonemes.labels(line, 960, 1.0, 9)
    assert _said(line).strip("_") == "sssənnn"


@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_no_phoneme_is_lost_that_has_a_longer_neighbour(speed: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        parts = [("_", 8)]
        for number in range(8):
            parts += [("mn"[number % 2], int(rng.integers(6, 10))), ("əi"[number % 2], 1)]
        line = _line(*parts, ("_", 8))
        runs = "".join(symbol for symbol, _ in itertools.groupby(_said(line, speed)))
        assert runs.strip("_") == "".join(symbol for symbol, _ in parts[1:])


def test_silence_takes_no_label_and_a_single_label_stays() -> None:
    line = _line(("_", 8), ("s", 6), ("_", 1), ("n", 4), ("_", 9))
    assert _said(line).strip("_") == "ssssnnn"
    short = _line(("_", 8), *[(symbol, 1) for symbol in "mnsz"], ("_", 8))
    assert [symbol in _said(short) for symbol in "mnsz"].count(True) >= 2


def test_an_unknown_timeline_has_unknown_codes() -> None:
    assert pairs.first_codes(np.zeros(0, np.int64), 3, CODES).tolist() == [phonemes.UNKNOWN] * 3


def test_pairs_with_a_common_phoneme_have_half_their_vector_in_common() -> None:
    vectors, listed = pairs.vectors(512, 96)[1:], pairs.pairs()
    alike = [other for other, pair in enumerate(listed) if pair[1] == listed[200][1]]
    assert len(alike) > 1 and all(torch.equal(vectors[other, 48:], vectors[200, 48:]) for other in alike)
    assert len(vectors.unique(dim=0)) == 511


def test_a_codec_has_such_codes_after_they_are_installed_and_saved(tmp_path: Path) -> None:
    codec = new_codec(0, SIZE)
    assert not pairs.installed(codec)
    pairs.install(codec)
    save_codec(codec, tmp_path)
    assert pairs.installed(load_codec(tmp_path))


def test_a_resynthesis_says_the_phonemes_it_is_told() -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    sound = np.sin(np.arange(SAMPLE_RATE, dtype=np.float32) / 9)
    one, other = (resynthesise(codec, sound, np.full(40, sound_class)) for sound_class in (3, 4))
    assert one.shape == sound.shape and np.abs(one - other).max() > 0


@torch.inference_mode()
def test_no_frame_has_the_code_of_the_frame_that_ends_a_turn() -> None:
    codec = new_codec(0, CodecSize())
    pairs.install(codec)
    latents = torch.randn(1, 192, 500, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0.5, 500)
    assert (codec.quantizer.encode(latents, 1) > 0).all()
    assert (pairs.table(512) > 0).all()


def test_on_the_grid_every_phoneme_is_where_its_labels_are() -> None:
    line = _line(("_", 8), ("s", 6), ("ə", 1), ("n", 5), ("_", 9))
    frames = -(-len(line) * 600 // 1920)
    said = pairs.on_the_grid(line, frames)
    labels = pairs.labels(line, frames).ravel()
    assert len(said) == len(labels) + 1
    for place, label in enumerate(labels):
        middle = int((said[place] + said[place + 1]) / 2 / 600)
        assert (line[middle] if middle < len(line) else phonemes.SILENCE) == label
    assert (np.diff(said) > 0).all()
    assert np.diff(said)[labels.tolist().index(phonemes.SOUNDS.index("ə") + 1)] == 600, "25 ms take 40"
