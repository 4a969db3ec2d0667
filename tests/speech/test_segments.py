"""Where a text is divided, and that nothing of it is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm.speech.segments import CLAUSE_PAUSE, PARAGRAPH_PAUSE, SENTENCE_PAUSE, Limits, Segment, split

# One sentence a segment: shows where sentences end.
SENTENCES = Limits(first=1, target=1, maximum=300, short=0)


def ink(text: str) -> str:
    return "".join(text.split())


def texts(text: str, limits: Limits = SENTENCES) -> list[str]:
    return [segment.text for segment in split(text, limits)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith met Mr. Jones at 5 p.m. yesterday.", "They talked about the U.S. economy."],
        ["It grew by 3.5 percent.", "Version 2.0.1 is out.", "No. 5 is alive."],
        ['She said, "Stop! Don\'t go there."', "Then she left."],
        ["“Why?” he asked.", "“Because,” she said."],
        ["Wait... what?", "I don't know...", "Maybe."],
        ["He paused . . . and went on.", "Then… nothing."],
        ["Visit https://example.com/a.b?c=d now.", "Then write to j.doe@example.org!", "Thanks."],
        ["See example.com for more.", "It is free."],
        ["J. R. R. Tolkien wrote it.", "We read it."],
        ["That is it (really. I mean it).", "Next one here."],
        ["Apple Inc. is large.", "Acme Corp. announced it."],
        ["He works at e.g. Google, i.e. a firm, etc.", "We go on."],
        ["She has a Ph.D. in it.", "What?!", "No!!", "Good."],
        ["one two three.", "no capitals here.", "is it?"],
    ],
)
def test_sentences_end_where_readers_end_them(sentences):
    assert texts(" ".join(sentences)) == sentences


def test_sentences_are_packed_up_to_the_target():
    sentence = "This sentence has exactly fifty characters in it.."
    assert len(sentence) == 50
    lengths = [len(text) for text in texts(" ".join([sentence] * 12), Limits())]
    assert lengths == [101, 203, 203, 101]


def test_segments_end_at_sentence_ends():
    text = " ".join(f"Sentence number {number} says a little, but not too much." for number in range(100))
    segments = split(text)
    assert all(segment.text.endswith(".") and len(segment.text) <= 240 for segment in segments)
    assert [segment.pause for segment in segments] == [SENTENCE_PAUSE] * (len(segments) - 1) + [0.0]


def test_the_first_segment_is_shorter():
    text = " ".join(["A sentence of middling length stands here again."] * 20)
    first, second, *_ = split(text)
    assert len(first.text) <= 120 < len(second.text)


def test_a_short_sentence_is_not_left_alone():
    long = "This sentence is rather long, " + "and it goes on and on " * 9 + "until it stops."
    assert 240 < len(long) < 280
    assert texts(f"Hi. {long} Yes.", Limits()) == [f"Hi. {long} Yes."]
    assert texts(f"{long}\n\nYes.\n\nNo.", Limits()) == [long, "Yes. No."]
    assert texts(f"Heading\n\n{long}", Limits()) == [f"Heading {long}"]


def test_paragraphs_end_segments_and_lines_do_not():
    one = "The first paragraph is long enough to stand alone."
    two = "The second one\nis wrapped over two lines."
    assert split(f"{one}\n \n{two}") == [
        Segment(one, PARAGRAPH_PAUSE),
        Segment("The second one is wrapped over two lines.", 0.0),
    ]


def test_a_long_sentence_is_divided_at_clauses():
    clause = "the river ran past the old mill, "
    segments = split("When spring came, " + clause * 20 + "and then it stopped.")
    assert all(150 <= len(segment.text) <= 300 for segment in segments)
    assert all(segment.text.endswith(",") and segment.pause == CLAUSE_PAUSE for segment in segments[:-1])


def test_a_border_near_the_start_is_no_place_to_cut():
    text = "This first clause is none of the shortest ones; " + "the old mill stood there, " * 16 + "and nobody came."
    assert all(len(piece) > 150 for piece in texts(text, Limits()))


def test_a_long_clause_is_divided_before_a_conjunction_else_between_words():
    half = "stone after stone after stone lay there " * 5
    first, second = split(f"{half}and {half}".strip(), Limits(maximum=300))
    assert second.text.startswith("and ")
    assert first.pause == 0.0
    words = ("stone " * 300).split()
    assert " ".join(texts(" ".join(words), Limits())).split() == words


def test_only_a_word_longer_than_a_segment_is_cut_and_keeps_its_accents():
    text = f"Say {'x' * 299}\u0301\u0302 {'y' * 700} now."
    pieces = texts(text, Limits())
    assert ink("".join(pieces)) == ink(text)
    assert all(len(piece) <= 300 for piece in pieces)
    assert not any(piece.startswith(("\u0301", "\u0302")) for piece in pieces)
    assert pieces[-1].endswith("now.")


@pytest.mark.parametrize("text", ["", " \n\n \t", "\n\n\n"])
def test_nothing_gives_no_segments(text):
    assert split(text) == []


@pytest.mark.parametrize(
    ("ending", "pause"),
    [
        (".", SENTENCE_PAUSE),
        ("?”", SENTENCE_PAUSE),
        ("!)", SENTENCE_PAUSE),
        ('."', SENTENCE_PAUSE),
        ("…", SENTENCE_PAUSE),
        (".\n", PARAGRAPH_PAUSE),
    ],
)
def test_pauses_follow_punctuation(ending, pause):
    text = f"{'It went on and on ' * 6}here{ending}"
    assert split(f"{text}\n{text} {text}")[0].pause == pause


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=10_000) | st.text(alphabet=st.sampled_from("aB .,!?\n\"'…—1$-(）。"), max_size=10_000))
def test_nothing_is_lost_and_no_segment_is_too_long(text):
    segments = split(text)
    assert ink("".join(segment.text for segment in segments)) == ink(text)
    assert all(0 < len(segment.text) <= 300 for segment in segments)
    assert all(segment.text == " ".join(segment.text.split()) for segment in segments)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_nothing_is_lost_whatever_the_limits(text, first, more, short):
    limits = Limits(first, first + more, first + 2 * more, short)
    segments = split(text, limits)
    assert ink("".join(segment.text for segment in segments)) == ink(text)
    assert all(0 < len(segment.text) <= limits.maximum for segment in segments)


@pytest.mark.parametrize("unit", ["a", "a ", "a, ", ". ", "\n\n", "\u0301", "(", '"', "Mr. ", "1.", "Then he left. "])
def test_hostile_texts_are_split_at_once(unit):
    text = unit * (10_000 // len(unit))
    started = time.perf_counter()
    segments = split(text)
    print(f"{unit!r}: {len(segments)} segments in {1000 * (time.perf_counter() - started):.0f} ms")
    assert ink("".join(segment.text for segment in segments)) == ink(text)
