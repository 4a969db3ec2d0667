import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from csm.web import fields
from csm.web.problems import InvalidField
from tests.web.app_settings import app_settings


def utterance(text="hello", **form):
    return fields.utterance({"text": text, **form}, b"sound", app_settings(max_text_chars=20))


def test_optional_fields_have_defaults():
    said = utterance()
    assert (said.text, said.reference, said.transcript) == ("hello", b"sound", None)
    assert (said.temperature, said.top_k, said.seed, said.max_seconds) == (0.9, 50, None, None)


def test_blank_optional_fields_count_as_absent():
    names = ("transcript", "temperature", "top_k", "seed", "max_seconds", "consent")
    assert utterance(**dict.fromkeys(names, "  ")) == utterance()
    assert fields.streamed({"stream": " "}) is fields.streamed({}) is True


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
    with pytest.raises(BadRequest, match="text"):
        fields.utterance({}, b"sound", app_settings())


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("1", True), ("on", True), ("no", False), ("0", False)])
def test_flags_are_true_or_false(text, value):
    assert fields.flag("stream", text) is value


def test_another_value_of_a_flag_is_refused():
    with pytest.raises(InvalidField, match="stream must be true or false"):
        fields.flag("stream", "perhaps")


@pytest.mark.parametrize(
    ("typo", "meant"), [("temprature", "temperature"), ("Transcript", "transcript"), ("topk", "top_k")]
)
def test_a_misspelt_field_is_refused_with_the_right_spelling(typo, meant):
    with pytest.raises(InvalidField, match=f"did you mean '{meant}'"):
        fields.refuse_unknown({"text": "", typo: ""})


def test_an_unknown_field_is_refused_with_the_known_ones():
    with pytest.raises(InvalidField, match="audio, text, transcript"):
        fields.refuse_unknown({"zzz": ""})


@given(st.sampled_from(fields.TEXTS), st.text(max_size=40))
def test_any_value_gives_an_utterance_or_an_error_that_does_not_repeat_it(name, text):
    form = {"text": "hello", name: text}
    try:
        fields.streamed(form)
        said = fields.utterance(form, b"", app_settings())
    except InvalidField as error:
        assert len(text) < 12 or text not in str(error)
        return
    assert 0 <= said.temperature <= 2 and 1 <= said.top_k <= 2051
    assert said.max_seconds is None or 0 < said.max_seconds <= 3600
