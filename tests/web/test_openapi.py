"""The OpenAPI document: complete, valid, and true of the running server."""

import json
import re
import subprocess
import sys

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from csm.web.error_docs import ERRORS
from csm.web.problems import STATUS
from tests.web.requests import KEY

UNDESCRIBED = {"/docs", "/openapi.json", "/", "/page.json", "/static/<path:name>"}
"""The document itself, and pages for browsers."""

NOT_FOR_CLIENTS = {499}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json


def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described(make_app, document):
    routes = {rule.rule for rule in make_app().url_map.iter_rules()} - UNDESCRIBED
    assert {re.sub(r"{\w+}", "{}", path) for path in document["paths"]} == {
        re.sub(r"<(\w+:)?\w+>", "{}", rule) for rule in routes
    }


def test_every_operation_has_an_id_of_its_own_and_a_summary(document):
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations(document))


def test_every_field_of_a_body_has_a_description(document):
    bodies = [schema for schema in document["components"]["schemas"].values() if "additionalProperties" in schema]
    assert bodies
    for schema in bodies:
        assert all("description" in field for field in schema["properties"].values()), schema["title"]


def test_every_error_has_an_example(document):
    assert set(STATUS.values()) - NOT_FOR_CLIENTS <= ERRORS.keys()
    for response in document["components"]["responses"].values():
        [content] = response["content"].values()
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert set(schema["required"]) <= content["example"].keys() <= schema["properties"].keys()


def test_limits_are_those_of_the_settings(make_client):
    document = make_client(max_text_chars=77).get("/openapi.json").json
    assert document["components"]["schemas"]["CloneForm"]["properties"]["text"]["maxLength"] == 77


def test_the_page_takes_everything_from_the_server_and_has_no_inline_code(client):
    page = client.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) >= 5
    for file in files:
        assert client.get(f"/{file}").status_code == 200
    assert "<style" not in page.text and page.text.count("<script") == page.text.count("<script src=")


SCHEMATHESIS = """
seed = 1
generation.max-examples = 50
# A wrong key in one header does not matter if the other header has a valid one.
checks.ignored_auth.enabled = false

# In a form, all values are text: blank counts as absent, and 0 as false.
[[operations]]
include-name = "POST /clone-voice"
checks.negative_data_rejection.enabled = false
# Reference audio or the name of a voice is needed; from a schema that says so, openapi-typescript makes no types.
checks.positive_data_acceptance.enabled = false

# A schema cannot say what names, consent statements and files of voices must be.
[[operations]]
include-path = "/v1/audio/voices"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

# Its path is that of a voice named import as well.
[[operations]]
include-path = "/v1/audio/voices/import"
checks.allow_header_conformance.enabled = false
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/v1/audio/voices/{voice_id}"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

# The schema does not say which fields belong together, such as a voice or reference audio.
[[operations]]
include-name = "POST /v1/audio/speech"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /conversation"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.slow
def test_requests_made_up_from_the_document_get_answers_that_it_describes(serve, tmp_path):
    server = serve(character_limit="none")
    pid = server.worker_pid
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    url = f"http://127.0.0.1:{server.port}/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", url, "-H", f"X-API-Key: {KEY['X-API-Key']}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-5000:]
    assert server.worker_pid == pid and server.is_idle


def test_the_document_is_json_without_nan(client):
    json.loads(client.get("/openapi.json").data, parse_constant=pytest.fail)
