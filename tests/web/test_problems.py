import logging

import pytest

from csm import errors, log
from csm.web.problems import STATUS, seconds
from tests.web.requests import KEY, clone_form


def test_every_error_has_a_status():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CsmError)]
    for kind in set(kinds) - {errors.CsmError}:
        assert any(base in STATUS for base in kind.__mro__), kind


def test_an_error_is_a_problem_document_with_request_id_and_field(client):
    answer = client.post("/clone-voice", data=clone_form(temperature="3"), headers={**KEY, "X-Request-ID": "abc-1"})
    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "temperature must be a number from 0 to 2.",
        "error": "temperature must be a number from 0 to 2.",
        "request_id": "abc-1",
        "field": "temperature",
    }
    assert answer.headers["X-Request-ID"] == "abc-1"


def test_an_unexpected_error_shows_no_details_and_is_logged_under_its_request_id(client, caplog):
    caplog.handler.setFormatter(log.TextFormatter())
    with caplog.at_level(logging.INFO):
        answer = client.post("/clone-voice", data=clone_form("fail=Unforeseen CANARY"), headers=KEY)
    assert answer.status_code == 500
    for secret in ("CANARY", "/a/path", "internal", "RuntimeError", "Traceback"):
        assert secret not in answer.text
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    [line] = [line for line in caplog.text.splitlines() if record.message in line]
    assert f"id={answer.json['request_id']}" in line
    assert "RuntimeError at " in record.message and "fake_synthesizer.py" in record.message
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize(("delay", "header"), [(0, "1"), (-3, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (60, "60")])
def test_retry_after_is_whole_seconds(delay, header):
    assert seconds(delay) == header


@pytest.mark.parametrize("offered", ["ok", "a" * 128, "A.b_c:d-0"])
def test_a_safe_request_id_is_kept(client, offered):
    assert client.get("/health", headers={"X-Request-ID": offered}).headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ["", "a" * 129, "a b", "é", 'x"y', "<script>"])
def test_an_unsafe_request_id_is_replaced(client, offered):
    given = client.get("/health", headers={"X-Request-ID": offered}).headers["X-Request-ID"]
    assert given != offered and len(given) == 16


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/audio/nothing"])
def test_errors_under_v1_have_the_shape_of_openai(client, path):
    answer = client.get(path, headers=KEY)
    assert (answer.status_code, answer.content_type) == (404, "application/json")
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json["error"]["type"] == "invalid_request_error"
    answer = client.get(path)
    assert answer.status_code == 401 and "WWW-Authenticate" in answer.headers
    assert answer.json["error"]["type"] == "authentication_error"
    assert answer.json["error"]["code"] == "invalid_api_key"
