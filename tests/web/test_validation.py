import base64
import tracemalloc

import pytest
from pydantic import Field
from werkzeug.exceptions import BadRequest

from csm.web.problems import InvalidField, MissingField
from csm.web.validation import Audio, Body, OptionalText, Text
from tests.web.app_settings import app_settings


class Inner(Body):
    text: Text
    weight: float = Field(1.0, ge=0, le=9)


class Outer(Body):
    name: Text
    sound: Audio | None = None
    sounds: list[Audio] | None = None
    note: OptionalText = None
    is_loud: bool = False
    count: int | None = Field(None, ge=0, le=9)
    parts: list[Inner] | None = Field(None, max_length=3)
    code: str | None = Field(None, min_length=2, max_length=4)
    roles: dict[str, Inner] | None = None


def parse(**values):
    return Outer.from_json({"name": "x", **values}, app_settings())


def refusal(**values):
    with pytest.raises(InvalidField) as raised:
        parse(**values)
    return raised.value.field, str(raised.value)


@pytest.mark.parametrize(
    "values", [{"is_loud": "true"}, {"is_loud": 1}, {"count": "1"}, {"count": 1.5}, {"count": True}, {"note": 1}]
)
def test_a_json_value_of_the_wrong_type_is_refused(values):
    [name] = values
    field, message = refusal(**values)
    assert field == name and message.startswith(f"{name} must be ")


@pytest.mark.parametrize("number", [10**400, 1e308, -1, float("inf")])
def test_a_json_number_out_of_range_is_refused(number):
    assert refusal(parts=[{"text": "x", "weight": number}]) == (
        "parts[0].weight",
        "parts[0].weight must be a number from 0 to 9.",
    )


def test_null_and_blank_texts_count_as_absent():
    assert parse(sound=None, note=None, is_loud=None, count=None, parts=None) == parse() == parse(note=" ")


def test_null_is_no_value_of_a_required_field():
    assert refusal(name=None) == ("name", "name must be text.")


@pytest.mark.parametrize("document", [[], "x", 1, None, True])
def test_a_document_that_is_no_object_is_refused(document):
    with pytest.raises(InvalidField, match="The body must be an object"):
        Outer.from_json(document, app_settings())


def test_errors_inside_of_a_list_say_where():
    assert refusal(parts=[{"text": "x"}, {"text": ""}])[0] == "parts[1].text"
    assert refusal(parts=[{"text": "x", "wieght": 1}]) == (
        "parts[0].weight",
        "There is an unknown field: did you mean 'weight'?",
    )
    with pytest.raises(MissingField, match=r"'parts\[0\].text' is missing"):
        parse(parts=[{}])


def test_lengths_are_explained():
    assert refusal(parts=[{"text": "x"}] * 4)[1] == "parts must be a list of 0 to 3 items."
    assert refusal(code="x")[1] == "code must be text of 2 to 4 characters."


def test_names_that_a_client_makes_up_are_not_repeated():
    assert refusal(roles={"canary": {"text": ""}})[0] == "roles.*.text"
    assert refusal(roles={"canary": 1}) == ("roles.*", "roles.* must be an object.")
    assert "canary" not in refusal(canary=1)[1]


@pytest.mark.parametrize("value", [1, None])
def test_a_hundred_thousand_unknown_names_need_no_more_memory_than_one(value):
    # Each would be an error of pydantic, of a kilobyte.
    names = {str(number): value for number in range(100_000)}
    documents = [{"name": "x"} | names, {"name": "x", "parts": [{"text": "x"} | names]}]
    tracemalloc.start()
    try:
        for document in documents:
            with pytest.raises(InvalidField, match="unknown field"):
                Outer.from_json(document, app_settings())
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_half_of_a_surrogate_pair_is_refused():
    assert "surrogate" in refusal(name="\ud800")[1]


def test_audio_is_base64_or_a_data_uri_in_json_and_bytes_in_a_form():
    encoded = base64.b64encode(b"sound" * 30).decode()
    wrapped = base64.encodebytes(b"sound" * 30).decode()
    for value in (
        encoded,
        wrapped,
        f"data:audio/wav;base64,{encoded}",
        f"DATA:audio/webm;codecs=opus;BASE64,{encoded}",
    ):
        assert parse(sound=value).sound == b"sound" * 30
    assert Outer.from_form({"name": "x", "sound": b"\x00"}, app_settings()).sound == b"\x00"


def test_spaces_within_base64_need_no_more_memory_than_the_text():
    text = "AA " * 100_000 + "AAAA" * 2
    tracemalloc.start()
    try:
        assert parse(sound=text).sound == bytes(150_006)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value", ["http://example.com/a.wav", "HTTPS://example.com", "file:///etc/passwd", "ftp://x", "s3://x/y", "data:,x"]
)
def test_addresses_of_audio_are_refused_as_such(value):
    field, message = refusal(sound=value)
    assert field == "sound" and "addresses are not fetched" in message


@pytest.mark.parametrize(
    "value", ["", "=", "AAA", "AA=A", "//etc/passwd!", "ü", "AAAA\x00", "data:audio/wav;base64,", "-_-_"]
)
def test_what_is_no_base64_is_refused(value):
    assert "base64" in refusal(sound=value)[1]


def test_a_field_may_be_several_files():
    assert Outer.files() == ["sound", "sounds"] and "sounds" in Outer.repeatable() and "sound" not in Outer.repeatable()
    assert Outer.from_form({"name": "x", "sounds": [b"1", b"2"]}, app_settings()).sounds == [b"1", b"2"]


def test_a_list_in_a_form_is_json():
    form = {"name": "x", "parts": '[{"text": "hello", "weight": 2}]'}
    parts = Outer.from_form(form, app_settings()).parts
    assert [(part.text, part.weight) for part in parts or ()] == [("hello", 2.0)]


def test_a_list_in_a_form_that_is_no_json_is_named():
    with pytest.raises(BadRequest, match="The field 'parts' is malformed"):
        Outer.from_form({"name": "x", "parts": "[{"}, app_settings())
