"""Markdown, HTML, emoji and addresses as a reader would say them."""

import pytest

from csm.speech.markup import read_addresses, read_emoji, read_markup

LONG = "This line is long enough to be one of a paragraph, which goes on below as"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("**bold**, *italic*, __both__, ~~gone~~ and `code`", "bold, italic, both, gone and code"),
        ("***very* bold** and snake_case", "very bold and snake_case"),
        ("5 * 3 and 2*4", "5 * 3 and 2*4"),
        ("# Title\n\nText", "Title.\n\nText"),
        ("## Why?\nBecause", "Why?\n\nBecause"),
        ("- one\n- [x] two\n* three!\n1) four", "one.\n\ntwo.\n\nthree!\n\n1. four"),
        ('See [the docs](https://a.b/c "title") and ![a cat](cat.png).', "See the docs and a cat."),
        ("[not a link] and [0](", "[not a link] and [0]("),
        ("> quoted\n> text", "quoted text"),
        ("Use:\n```python\nx = 1\n```\nDone", "Use:\n\nx = 1.\n\nDone"),
        ("| a | b |\n|---|---|\n| c | d |", "a, b.\n\nc, d"),
        ("One\n\n---\n\nTwo", "One.\n\nTwo"),
        ("Tom &amp; Jerry<br/><b>run</b> <!-- no -->now", "Tom & Jerry run now"),
        ("a < b > c, <3, AT&T; R&D", "a < b > c, <3, AT&T; R&D"),
        ("Mail <me@example.org> or <https://example.org>", "Mail me@example.org or https://example.org"),
        (f"{LONG}\nWrapped", f"{LONG} Wrapped"),
        ("Roses are red\nViolets are blue", "Roses are red.\n\nViolets are blue"),
        ("a wrapped\nline", "a wrapped line"),
        ("It is short.\nNext", "It is short. Next"),
        ("Hello", "Hello"),
        ("", ""),
    ],
)
def test_markdown_and_html(written, read):
    assert read_markup(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Great job 🎉👍🏽! ❤️", "Great job !"),
        ("👍", "thumbs up sign"),
        ("😂 😂", "face with tears of joy, face with tears of joy"),
        ("🇩🇪", "🇩🇪"),
        ("Press 1️⃣ or 2️⃣", "Press 1 or 2"),
        ("日本語", "日本語"),
        ("½ ™ € → °", "½ ™ € → °"),
    ],
)
def test_emoji(written, read):
    assert " ".join(read_emoji(written).split()) == read


def test_a_flood_of_emoji_stays_short():
    assert read_emoji("😀" * 10_000).count("grinning face") == 10


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("At https://www.example.com/docs/intro?x=1#top, see.", "At example dot com slash docs slash intro, see."),
        ("(see http://localhost:5000/health)", "(see localhost colon 5000 slash health)"),
        ("mailto:me@example.org", "me at example dot org"),
        ("https://example.org/a%20b%2Fc", "example dot org slash a b slash c"),
        ("www.example.org!", "example dot org!"),
        ("example.com and docs.example.co.uk", "example dot com and docs dot example dot co dot uk"),
        ("john.doe+x@mail.example.com.", "john dot doe plus x at mail dot example dot com."),
        ("Open main.py and README.md", "Open main dot py and README dot md"),
        ("It ended.This is new. So.is this", "It ended.This is new. So.is this"),
        ("e.g. the U.S. at 3.5", "e.g. the U.S. at 3.5"),
        ("https://", "https://"),
    ],
)
def test_addresses(written, read):
    assert read_addresses(written) == read
