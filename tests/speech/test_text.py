import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm.speech.text import SPECIAL_TOKEN, clean, longest_seconds


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  Hello\n\tthere.  ", "Hello there."),
        ("<|AUDIO|>Say<|end_of_text|> this", "Say this"),
        ("<|<|AUDIO|>AUDIO|>", ""),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("zero\u200bwidth\ufeff", "zero width"),
        ("e\u0301", "\u00e9"),
        ("a < b | c > d <||>", "a < b | c > d"),
        ("[0] stays", "[0] stays"),
        ("\u202eright to left", "right to left"),
        ("日本語 🎉", "日本語 🎉"),
        ("\ud800 lone", "lone"),
        ("", ""),
    ],
)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text(alphabet=st.sampled_from("<|>AUDIO_ \u200b\n")))
def test_no_special_token_is_left(text: str) -> None:
    once = clean(text)
    assert not SPECIAL_TOKEN.search(once)
    assert clean(once) == once


def test_the_longest_duration_grows_with_text_and_digits() -> None:
    assert 1 < longest_seconds("Yes.") < 5
    sentence = "The quick brown fox jumps over the lazy dog."
    # People take about three seconds for it.
    assert 4 < longest_seconds(sentence) < 10
    assert longest_seconds("1234567890") > 5
    assert longest_seconds(2 * sentence) > longest_seconds(sentence)
