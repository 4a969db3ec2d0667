"""Words that the operator wants to be said in another way."""

import time

import pytest

from csm.settings import SettingsError, load
from csm.speech.lexicon import MAX_BYTES, Lexicon


def lexicon(tmp_path, content):
    file = tmp_path / "lexicon.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Lexicon.from_settings(load(None, lexicon=file))


def test_whole_words_are_respelt_whatever_their_case(tmp_path):
    words = lexicon(
        tmp_path,
        "\ufeff# how we say it\n\nnginx = engine x\nC++ = see plus plus\n.NET=dot net\nSQL = sequel\n"
        "New = Noo\nNew York = Noo Yawk\nYork = Yoark\nGroße = gross uh\n  # and no more\n",
    )
    assert words.respell("Nginx, NGINX and nginxes") == "engine x, engine x and nginxes"
    assert words.respell("C++ or C+; MySQL or SQL.") == "see plus plus or C+; MySQL or sequel."
    assert words.respell("ASP.NET, .NET") == "ASP.NET, dot net"
    assert words.respell("new york, York, new") == "Noo Yawk, Yoark, Noo"
    assert words.respell("GROßE große GROSSE") == "gross uh gross uh GROSSE"


def test_a_respelling_is_not_respelt(tmp_path):
    assert lexicon(tmp_path, "a = b\nb = a").respell("a b") == "b a"


def test_without_a_file_nothing_changes():
    assert Lexicon.from_settings(load(None)).respell("SQL \\1 (a|b)") == "SQL \\1 (a|b)"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("SQL = sequel\nSQL\n", "line 2: expected word = respelling"),
        ("= x", "line 1: expected word = respelling"),
        ("x =", "line 1: expected word = respelling"),
        ("a = b\n\nA = c", "line 3: the word stands in an earlier line too"),
        ("a = <|AUDIO|>", "line 1: remove special tokens"),
        ("a\u200b = b", "line 1: remove special tokens"),
        (b"caf\xe9 = x", "not UTF-8"),
        ("x" * (MAX_BYTES + 1), "more than"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, reason):
    with pytest.raises(SettingsError, match=reason) as refused:
        lexicon(tmp_path, content)
    assert str(refused.value).startswith("CSM_LEXICON")


@pytest.mark.parametrize("name", ["absent.txt", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(SettingsError, match="CSM_LEXICON cannot be read"):
        Lexicon.from_settings(load(None, lexicon=tmp_path / name))


def test_the_largest_lexicon_is_quick_enough(tmp_path):
    words = lexicon(tmp_path, "\n".join(f"word{number} = wurd{number}" for number in range(4500)))
    text = "Some other words are here. " * 370
    started = time.perf_counter()
    assert words.respell(text) == text
    print(f"{len(text)} characters, 4,500 words: {1000 * (time.perf_counter() - started):.0f} ms")
    assert words.respell("word17 word4499") == "wurd17 wurd4499"
