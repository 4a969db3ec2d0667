"""From what a client wrote to what the model says, all steps together."""

import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from csm.errors import InvalidRequest
from csm.settings import load
from csm.speech.frontend import TextFrontend
from csm.speech.segments import Limits
from csm.speech.text import SPECIAL_TOKEN, clean


@pytest.fixture(scope="module")
def frontend():
    return TextFrontend(load(None))


@pytest.fixture(scope="module")
def plain():
    return TextFrontend(load(None, normalize=False))


def spoken(frontend, text):
    return " ".join(segment.text for segment in frontend.prepare(text).segments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello there.", "Hello there."),
        (
            "# News\n\n- It fell **3.2%** on 3/14/2024.\n- See https://example.com/?y=1",
            "News. It fell three point two percent on March fourteenth, twenty twenty-four. See example dot com",
        ),
        ("👍", "thumbs up sign"),
        ("Say <|AUDIO|>&lt;|AUDIO|&gt;<|AU**DIO|> it", "Say it"),
        ("zero\u200bwidth \x1b 5\u00a0kg", "zero width five kilograms"),
    ],
)
def test_texts_are_written_out(frontend, text, said):
    assert spoken(frontend, text) == said


def test_pauses_end_segments_and_replace_those_of_punctuation(frontend):
    text = "[pause:1.5s][pause:500ms] Wait [pause:1s] for it.[pause:500ms][pause:250ms]\n\nNow! [pause:3s]"
    script = frontend.prepare(text)
    assert script.lead == 2.0
    assert [(segment.text, segment.pause) for segment in script.segments] == [
        ("Wait", 1.0),
        ("for it.", 0.75),
        ("Now!", 3.0),
    ]


def test_only_the_first_segment_is_short(frontend):
    sentence = "This sentence has exactly fifty characters in it.. "
    first, second, third, *_ = frontend.prepare(sentence * 8 + "[pause:1s]" + sentence * 8).segments
    assert [len(first.text), len(second.text), len(third.text)] == [101, 203, 101]
    assert len(frontend.prepare(sentence * 8 + "[pause:1s]" + sentence * 8).segments[3].text) == 203


def test_segments_for_the_embedded_model_are_short(frontend):
    sentence = "This sentence has exactly fifty characters in it.. "
    segments = TextFrontend(load(None, model="demo")).prepare(sentence * 8).segments
    assert [segment.text for segment in segments] == [sentence.strip()] * 8
    assert len(segments) > len(frontend.prepare(sentence * 8).segments)


def test_the_limits_can_be_chosen(frontend):
    script = frontend.prepare("One is here. Two is here. Three is here.", Limits(1, 1, 300, 0))
    assert [segment.text for segment in script.segments] == ["One is here.", "Two is here.", "Three is here."]


def test_other_languages_are_told_and_not_written_out_in_english(frontend):
    script = frontend.prepare("Ich habe 3 Äpfel gekauft und 5 Birnen gegessen.")
    assert (script.language.code, script.segments[0].text) == ("de", "Ich habe 3 Äpfel gekauft und 5 Birnen gegessen.")
    assert frontend.prepare("I bought 3 apples.").language.is_english


def test_normalization_can_be_turned_off(plain):
    assert spoken(plain, "It costs **$5** [pause:1s] 👍 at example.com") == "It costs **$5** 👍 at example.com"


def test_the_lexicon_sees_words_as_they_were_written_and_spares_addresses(tmp_path):
    file = tmp_path / "lexicon.txt"
    file.write_text("k8s = kubernetes\nSQL = sequel\nexample = egg sample\n")
    frontend = TextFrontend(load(None, lexicon=file))
    assert spoken(frontend, "k8s, SQL, 5 kg: https://example.com/sql.") == (
        "kubernetes, sequel, five kilograms: egg sample dot com slash sequel."
    )
    assert spoken(TextFrontend(load(None, lexicon=file, normalize=False)), "k8s 5 kg") == "kubernetes 5 kg"


def test_a_respelling_makes_no_special_tokens(tmp_path):
    file = tmp_path / "lexicon.txt"
    file.write_text("x = AUDIO|>\n")
    assert spoken(TextFrontend(load(None, lexicon=file, normalize=False)), "Say <|x now") == "Say now"


@pytest.mark.parametrize("text", ["...", "!?", "<|AUDIO|>", "[pause:1s]", "\u200b", "***", "---\n\n- \n"])
def test_nothing_to_say_is_refused(frontend, text):
    with pytest.raises(InvalidRequest, match="nothing to say"):
        frontend.prepare(text)


def test_a_malformed_pause_is_refused(frontend):
    with pytest.raises(InvalidRequest, match=r"\[pause:1s\]"):
        frontend.prepare("Hello [pause] there")


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text(max_size=40)
        | st.sampled_from(["<|AUDIO|>", "&lt;|", "|&gt;", "**", "$5", "[x](y)", "\n\n- ", "3/4/2024", "`", "%3C|"])
    ).map("".join)
)
def test_any_text_becomes_segments_without_special_tokens(frontend, text):
    try:
        segments = frontend.prepare(text).segments
    except InvalidRequest:
        return
    for segment in segments:
        assert 0 < len(segment.text) <= 300
        assert segment.text == " ".join(segment.text.split())
        assert segment.pause >= 0
    assert not SPECIAL_TOKEN.search(" ".join(segment.text for segment in segments))


@hypothesis_settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="[<"), max_size=2_000))
def test_nothing_is_lost_where_nothing_is_written_out(plain, text):
    kept = "".join(clean(text).split())
    try:
        said = "".join(segment.text for segment in plain.prepare(text).segments)
    except InvalidRequest:
        assert not any(character.isalnum() for character in kept)
    else:
        # Only segments without a letter or digit are left out.
        assert [c for c in "".join(said.split()) if c.isalnum()] == [c for c in kept if c.isalnum()]


def test_ten_thousand_characters_are_prepared_quickly(frontend):
    text = (
        "On 3/14/2024 at 3:30pm, Dr. Smith paid $5.99 for 3.5 kg; see https://example.com/x or call 555-123-4567. "
        "Then he went home, e.g. by bus, and that was that.\n\n"
    )
    text = (text * 100)[:10_000]
    started = time.perf_counter()
    script = frontend.prepare(text)
    print(f"{len(script.segments)} segments in {1000 * (time.perf_counter() - started):.0f} ms")
    said = " ".join(segment.text for segment in script.segments)
    assert said.count("three point five kilograms") == text.count("3.5 kg")
    assert max(len(segment.text) for segment in script.segments) <= 300
