import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm.speech.text import SPECIAL_TOKEN, clean, clean_lines


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


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  one \t line\r\n\r\n two\u2028three\x0bfour ", "one line\n\ntwo\nthree\nfour"),
        ("a <|AUD\nIO|> b", "a b"),
        ("\x00\n\u200b", ""),
    ],
)
def test_line_breaks_can_be_kept(text: str, cleaned: str) -> None:
    assert clean_lines(text) == cleaned


@given(st.text())
def test_both_ways_of_cleaning_agree(text: str) -> None:
    assert clean_lines(text).split() == clean(text).split()
    assert clean_lines(clean_lines(text)) == clean_lines(text)


@given(st.text(alphabet=st.sampled_from("<|>AUDIO_ \u200b\n")))
def test_no_special_token_is_left(text: str) -> None:
    once = clean(text)
    assert not SPECIAL_TOKEN.search(once)
    assert clean(once) == once
