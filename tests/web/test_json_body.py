import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from csm.web import json_body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b'{"a": 1,}', "malformed"),
        (b"{'a': 1}", "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"a": "caf\xe9"}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": -Infinity}', "malformed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed"),
        (b'{"a": 1, "a": 2}', "repeated"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "repeated"),
        (b"[" * 100_000 + b"]" * 100_000, "too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too deeply"),
        (b"[" * 1_000_000, "too many values"),
        (b"[" + b'"",' * 300_000 + b'""]', "too many values"),
        (b'"' + b'\\"' * 500_000 + b'"', "too many values"),
        (b'"' + b'\\"' * 90_000, "malformed"),
    ],
)
def test_an_invalid_document_is_refused(data, reason):
    with pytest.raises(BadRequest, match=reason):
        json_body.parse(data)


@pytest.mark.parametrize("text", ['[pause:1s] {"one", "two"}\n' * 1_000, "\N{GRINNING FACE}" * 20_000])
def test_a_long_text_with_many_brackets_or_escapes_is_accepted(text):
    assert json_body.parse(json.dumps({"text": text}).encode())["text"] == text


def test_a_document_can_have_another_name_in_messages():
    with pytest.raises(BadRequest, match="The field 'turns' is malformed"):
        json_body.parse(b"[", "The field 'turns'")


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_a_json_library_writes_is_read_back(document):
    assert json_body.parse(json.dumps(document).encode()) == document
