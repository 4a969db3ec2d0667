"""The errors in the OpenAPI document, each with an example."""

from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter

from csm.web.problems import OpenAIErrors, Problem, openai_error, problem_document

ERRORS = {
    400: ("The body is malformed, or a part is missing or repeated.", "A part is repeated: each may be sent once."),
    401: ("The key is missing or wrong.", "A valid key is needed: send it as 'Authorization: Bearer KEY'."),
    403: (
        "The server's settings do not allow this, or a page of another site sent it.",
        "This server stores no voices: its operator can set CSM_VOICES_DIR to a folder for them.",
    ),
    404: ("There is nothing of this name.", "There is no such voice."),
    409: ("The name is taken, or there are too many voices.", "There is a voice of this name: choose another one."),
    413: ("The body is too large.", "The upload is too large: at most 10 MB and a few fields."),
    415: ("The body has the wrong type, or the audio cannot be decoded.", "The reference audio cannot be decoded."),
    422: ("A field is unknown or out of range, or the audio cannot be used.", "speed must be a number from 0.5 to 2."),
    429: ("Your quota is used up.", "Your quota of 10 per 1 minute is used up; try again in 20 seconds."),
    500: ("The server failed.", "Something went wrong on our side; the request id finds it in the server's log."),
    503: ("The server is loading, draining, or busy.", "All slots are busy and the queue is full; try again later."),
    504: ("The speech did not begin in time.", "No audio was generated in time; try again later."),
    507: ("The voice cannot be written or deleted.", "The voice cannot be stored: the server's disk is full."),
}
"""What each status means, and an example of what the client is told."""

EXTRA_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def schemas() -> dict[str, Any]:
    """Return the schemas of error documents."""
    found: dict[str, Any] = {}
    for shape in (Problem, OpenAIErrors):
        schema = TypeAdapter(shape).json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[shape.__name__] = schema
    return found


def reference(status: int, is_openai: bool, components: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Add the answer for an error to the components and return a reference to it."""
    name = f"{'OpenAIError' if is_openai else 'Problem'}{status}"
    description, detail = ERRORS[status]
    example: Problem | OpenAIErrors
    if is_openai:
        description = "A field is unknown or out of range." if status == 400 else description
        media_type, schema, example = "application/json", "OpenAIErrors", openai_error(status, detail)
    else:
        media_type, schema = "application/problem+json", "Problem"
        example = problem_document(status, HTTPStatus(status).phrase, detail, "4f2c9d1be07a6835")
    headers = ["X-Request-ID"] + ([EXTRA_HEADERS[status]] if status in EXTRA_HEADERS else [])
    components["responses"][name] = {
        "description": description,
        "headers": {header: {"$ref": f"#/components/headers/{header}"} for header in headers},
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}},
    }
    return {"$ref": f"#/components/responses/{name}"}
