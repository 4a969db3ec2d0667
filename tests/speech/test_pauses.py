"""Pauses that clients write into their texts."""

import pytest

from csm.errors import InvalidRequest
from csm.speech.pauses import FORM, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello", [("Hello", 0.0)]),
        ("a [pause:1s] b", [("a ", 1.0), (" b", 0.0)]),
        ("[pause:500ms]a", [("", 0.5), ("a", 0.0)]),
        ("a[PAUSE: 0.05 s][ pause : 10S ]", [("a", 0.05), ("", 10.0), ("", 0.0)]),
        ("a [pause:.5s] b", [("a ", 0.5), (" b", 0.0)]),
        ("pause:1s and [a pause] and [paused]", [("pause:1s and [a pause] and [paused]", 0.0)]),
    ],
)
def test_pauses_are_taken_out(text, parts):
    assert parse(text) == parts


@pytest.mark.parametrize(
    "marker",
    ["[pause]", "[pause:]", "[pause:1]", "[pause:s]", "[pause 1s]", "[pause=1s]", "[pause:-1s]", "[pause:1,5s]",
     "[pause:1m]", "[pause:49ms]", "[pause:0s]", "[pause:10.1s]", "[pause:10001ms]", "[pause:1s", "[pause:nan s]",
     "[pause:1s\n]", "[pause:" + "9" * 50 + "s]", "[pause:٣s]"],
)  # fmt: skip
def test_a_malformed_pause_is_refused_with_the_form(marker):
    with pytest.raises(InvalidRequest) as refused:
        parse(f"Some secret words {marker} and more.")
    assert str(refused.value) == f"text: {FORM}"


def test_all_pauses_together_are_bounded():
    assert len(parse("a[pause:10s]" * 30)) == 31
    with pytest.raises(InvalidRequest, match="at most 300 seconds"):
        parse("a[pause:10s]" * 30 + "[pause:50ms]")
