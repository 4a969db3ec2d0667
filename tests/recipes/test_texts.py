"""Texts from WordNet: tidied, told apart by kind, and shared out so that no two voices say the same."""

from collections import Counter
from pathlib import Path

import pytest

from recipes.demo_model import heldout, texts


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    glosses = (
        'remain in one place (for a while); stay, as a guest; "he waited; patiently"; "two words"',
        'the 2nd of many; a question (as of a friend\'s); "it has 3 digits here"; "who is it there?"',
        'remain in one place; "he waited; patiently"',
    )
    lines = (f"0000{number} 03 n 01 word 0 000 | {gloss}" for number, gloss in enumerate(glosses))
    (tmp_path / "data.noun").write_text("  1 This software and database is being provided\n" + "\n".join(lines))
    return tmp_path


def test_example_sentences_are_tidied(wordnet: Path) -> None:
    assert texts.example_sentences(wordnet) == ["He waited; patiently.", "Who is it there?"]


def test_definitions_lose_their_brackets_and_come_once(wordnet: Path) -> None:
    assert texts.definitions(wordnet) == ["Remain in one place.", "Stay, as a guest."]


def test_shares_are_the_whole_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [f"Sentence {'very ' * number}long." for number in range(9)]
    monkeypatch.setattr(texts, "KINDS", {"definitions": lambda: everything})
    parts = [texts.sentences("definitions", (which, 3)) for which in range(3)]
    assert sorted(text for part in parts for text in part) == sorted(everything)
    assert texts.sentences("definitions", max_words=3) == everything[:2]


def test_the_judges_texts_are_not_wordnets() -> None:
    assert texts.sentences("judges") == sorted(heldout.TEXTS)
    if texts.WORDNET.exists():
        assert not {*texts.all_of_wordnet()} & {*heldout.TEXTS}


def test_texts_of_frequent_words_have_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = ["The cat saw the dog.", "The dog isn't a cat.", "A dog saw the heliotrope."]
    monkeypatch.setattr(texts, "all_of_wordnet", lambda: everything)
    monkeypatch.setattr(texts, "KINDS", {"all": lambda: [*everything, "The cat was a bittern."]})
    assert texts.sentences("all", common=5) == everything[:1]
    assert texts.sentences("all", common=7) == everything


def test_lists_have_each_frequent_word_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    often = [f"{letter}{letter}ness" for letter in "abcdefghijkl"]
    sentences = [f"{word.capitalize()} of the {word}." for word in often for _ in range(texts.FREQUENT // 2)]
    monkeypatch.setattr(texts, "all_of_wordnet", lambda: [*sentences, "The bittern."])
    lists = texts.word_lists()
    counted = Counter(word for text in lists for word in texts._words(text))
    assert set(counted) <= {*often, "of", "the"}
    assert len(counted) == 14 and max(counted.values()) < 2 * min(counted.values())
    assert all(text[0].isupper() and text.endswith(".") and len(text.split()) <= 8 for text in lists)
    assert lists == texts.word_lists()
