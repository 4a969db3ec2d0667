import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm.web.problems import InvalidField, MissingField
from csm.web.schemas.clone import CloneForm
from tests.web.app_settings import app_settings


def utterance(text="hello", **form):
    values = {"audio": b"sound", "text": text, **form}
    return CloneForm.from_form(values, app_settings(max_text_chars=20)).utterance()


def test_optional_fields_have_defaults():
    said = utterance()
    assert (said.text, said.reference, said.transcript) == ("hello", b"sound", None)
    assert (said.temperature, said.top_k, said.seed, said.max_seconds) == (0.9, 50, None, None)


def test_blank_optional_fields_count_as_absent():
    names = CloneForm.model_fields.keys() - {"audio", "text"}
    assert utterance(**dict.fromkeys(names, "  ")) == utterance()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0", 0.0),
        ("temperature", " 2.0 ", 2.0),
        ("temperature", ".5", 0.5),
        ("temperature", "1e-1", 0.1),
        ("top_k", "1", 1),
        ("top_k", "2051", 2051),
        ("seed", "0", 0),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("max_seconds", "0.5", 0.5),
        ("max_seconds", "60", 60.0),
        ("transcript", " x" * 10, ("x " * 10).strip()),
    ],
)
def test_values_in_range_are_accepted(name, text, value):
    assert getattr(utterance(**{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("temperature", ["-0.1", "2.01", "nan", "inf", "1e999", "warm", "1_0", "٣", "0x1", "--1", "1e", "9" * 50]),
        ("top_k", ["0", "2052", "1.5", "-1", "٣", "1e2", "9" * 5000]),
        ("seed", ["-1", str(2**63), "0.0", "random"]),
        ("max_seconds", ["0", "-1", "3601", "nan", "0.0", "1e-99999"]),
        ("text", ["", "  \n", "x" * 21]),
        ("transcript", ["x" * 21]),
        ("consent", ["false", "maybe"]),
        ("stream", ["perhaps", "2", "tru"]),
        ("speed", ["0.49", "2.01", "fast"]),
    ],
)
def test_values_out_of_range_are_refused(name, texts):
    for text in texts:
        with pytest.raises(InvalidField) as raised:
            utterance(**{name: text})
        assert raised.value.field == name
        assert name in str(raised.value)


def test_the_limit_of_text_does_not_count_surrounding_blanks():
    assert utterance("  " + "x" * 20 + "  ").text == "x" * 20


def test_a_missing_text_is_refused():
    with pytest.raises(MissingField, match="'text' is missing"):
        CloneForm.from_form({"audio": b"sound"}, app_settings())


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("1", True), ("on", True), ("no", False), ("0", False)])
def test_flags_are_true_or_false(text, value):
    assert utterance(stream=text).stream is value


@pytest.mark.parametrize(
    ("typo", "meant"), [("temprature", "temperature"), ("Transcript", "transcript"), ("topk", "top_k")]
)
def test_a_misspelt_field_is_refused_with_the_right_spelling(typo, meant):
    with pytest.raises(InvalidField, match=f"did you mean '{meant}'"):
        utterance(**{typo: ""})


def test_an_unknown_field_is_refused_with_the_known_ones():
    with pytest.raises(InvalidField, match="audio, voice, text, transcript"):
        utterance(zzz="")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"temperature": "9"}, "temperature must be a number from 0 to 2."),
        ({"top_k": "0"}, "top_k must be a whole number from 1 to 2051."),
        ({"seed": "x"}, "seed must be a whole number from 0 to 9223372036854775807."),
        ({"stream": "perhaps"}, "stream must be true or false."),
        ({"text": " "}, "text must have 1 to 20 characters."),
        ({"consent": "no"}, "consent must be true: it states that the speaker of the reference audio has agreed."),
    ],
)
def test_a_message_names_the_field_and_what_it_must_be(field, message):
    with pytest.raises(InvalidField) as raised:
        utterance(**field)
    assert str(raised.value) == message


@given(st.sampled_from(sorted(CloneForm.model_fields.keys() - {"audio"})), st.text(max_size=40))
def test_any_value_gives_an_utterance_or_an_error_that_does_not_repeat_it(name, text):
    try:
        said = CloneForm.from_form({"audio": b"", "text": "hello", name: text}, app_settings()).utterance()
    except InvalidField as error:
        assert len(text) < 12 or text not in str(error)
        return
    assert 0 <= said.temperature <= 2 and 1 <= said.top_k <= 2051
    assert said.max_seconds is None or 0 < said.max_seconds <= 3600
