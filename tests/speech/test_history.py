"""What was said is remembered up to a limit, and forgotten in blocks."""

import numpy as np

from csm.audio.waveform import Waveform
from csm.model.conversation import Turn
from csm.speech.history import History


def said(text: str, seconds: float = 1.0) -> Turn:
    audio = Waveform(np.zeros(round(seconds * 24_000), np.float32), 24_000)
    return Turn("0", text, audio, np.zeros((1, 2), np.int64))


def texts(history: History) -> str:
    return "".join(turn.text for turn in history.turns)


def test_all_turns_are_remembered_in_order_up_to_the_limit_and_then_the_older_half_goes() -> None:
    history = History([], max_seconds=5.0)
    seen = []
    for letter in "abcdefghij":
        history.add(said(letter))
        seen.append(texts(history))
    assert seen == ["a", "ab", "abc", "abcd", "abcde", "def", "defg", "defgh", "ghi", "ghij"]


def test_the_latest_turn_is_remembered_however_long_it_is() -> None:
    history = History([], max_seconds=5.0)
    for letter in "abc":
        history.add(said(letter))
    history.add(said("d", 60.0))
    assert texts(history) == "d"


def test_without_a_limit_turns_are_dropped_only_on_request() -> None:
    history = History([])
    for letter in "abcde":
        history.add(said(letter, 100.0))
    seen = [texts(history)]
    while history.turns:
        history.drop_older()
        seen.append(texts(history))
    assert seen == ["abcde", "de", "e", ""]


def test_the_references_come_first_and_are_never_dropped() -> None:
    history = History([said("x"), said("y")], max_seconds=2.0)
    for letter in "abcd":
        history.add(said(letter))
    conversation = history.conversation(Turn("1", "next"), [said("piece")])
    assert [turn.text for turn in conversation.context] == ["x", "y"]
    assert [turn.text for turn in conversation.said] == ["c", "d", "piece"]
    assert conversation.target.text == "next"
