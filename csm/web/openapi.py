"""The OpenAPI 3.1 document, from the routes and the schemas of their bodies and answers."""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask
from pydantic import TypeAdapter

import csm
from csm.audio.encoders import FORMATS
from csm.settings import Settings
from csm.web import error_docs
from csm.web.problems import OPENAI_PREFIX
from csm.web.validation import TEXT_FORMAT, Body

FORM, JSON = "multipart/form-data", "application/json"
NESTED = "JSON in a form"
"""How lists and objects are sent in a form; a file in them is the name of its part."""

REF = "#/components/{}/{}"

BASE64 = r"^(data:[^,]*;base64,)?([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$"

HEADERS = {
    "X-Request-ID": "Finds the request in the server's log.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "How to send the key.",
    "Content-Disposition": "A file name for the audio.",
    "X-Finish-Reason": "How the speech ended: stop, length, silence or repeat. Not known while an answer is streamed.",
    "X-Reference-Warnings": "What is wrong with the reference audio, separated by semicolons.",
    "X-Text-Language": "ISO 639-1 code of the text's language, if that is not English.",
    "X-Watermark": "The watermark that the speech carries: perth. Absent if it carries none.",
    "X-Transcript": "The words recognised in the reference audio, percent-encoded. Absent if they were given.",
    "X-Transcript-Source": "Where the transcript of the reference audio comes from: given, recognized or none.",
}

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Answer:
    """A successful answer.

    Attributes:
        description: of its content.
        content: JSON Schema, or a type that pydantic describes, by media type.
        headers: names in `HEADERS`.
    """

    description: str
    content: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """What the document says about a route, beyond what the route itself shows.

    Attributes:
        summary: one line.
        answers: by status.
        body: schema of the body, if there is one.
        media_types: in which the body may be sent.
        errors: statuses of errors beyond those that follow from the rest.
    """

    summary: str
    answers: Mapping[int, Answer]
    body: type[Body] | None = None
    media_types: tuple[str, ...] = (FORM,)
    errors: tuple[int, ...] = ()


AUDIO = Answer(
    "The speech, sent while it is generated. If that fails, the connection is cut, so that the file is incomplete.",
    {fmt.media_type: {"type": "string", "format": "binary"} for fmt in FORMATS.values()},
    (
        "Content-Disposition",
        "X-Finish-Reason",
        "X-Reference-Warnings",
        "X-Text-Language",
        "X-Transcript",
        "X-Transcript-Source",
        "X-Watermark",
    ),
)

SPEECH_ERRORS = (429, 503, 504)
"""Statuses of the errors that every route which generates speech may answer with."""


def describe(operation: Operation) -> Callable[[View], View]:
    """Return a decorator that attaches the description of a route to its function."""

    def attach(view: View) -> View:
        view.openapi = operation  # type: ignore[attr-defined]
        return view

    return attach


def build(app: Flask, settings: Settings, public: Set[str]) -> dict[str, Any]:
    """Return the document of an application, after all its routes have been registered.

    Args:
        app: the application.
        settings: of the server.
        public: names of the blueprints whose routes need no key.
    """
    paths: dict[str, dict[str, Any]] = {}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "CSM voice cloning",
            "version": csm.__version__,
            "summary": "Speaks a text in the voice of a recording.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"apiKey": []}] if settings.has_keys else [],
        "paths": paths,
    }
    components: dict[str, dict[str, Any]] = {
        "schemas": error_docs.schemas(),
        "responses": {},
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        },
    }
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation: Operation | None = getattr(view, "openapi", None)
        if operation is None:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        blueprint = rule.endpoint.partition(".")[0]
        described = _operation(operation, path, blueprint, blueprint in public, components, settings)
        described["operationId"] = view.__name__
        if rule.arguments:
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in sorted(rule.arguments)
            ]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            paths.setdefault(path, {})[method.lower()] = described
    return {**document, "components": components}


def _operation(
    operation: Operation,
    path: str,
    blueprint: str,
    is_public: bool,
    components: dict[str, dict[str, Any]],
    settings: Settings,
) -> dict[str, Any]:
    described: dict[str, Any] = {"tags": [blueprint], "summary": operation.summary}
    if is_public:
        described["security"] = []
    errors = {500, *operation.errors} | (set() if is_public else {401, 403})
    if operation.body is not None:
        content = {kind: _body(operation.body, kind, components, settings) for kind in operation.media_types}
        described["requestBody"] = {"required": True, "content": content}
        errors |= {400, 413, 415, 422}
    if "{" in path:
        errors.add(404)
    is_openai = path.startswith(OPENAI_PREFIX)
    if is_openai:
        errors = {400 if status == 422 else status for status in errors}
    described["responses"] = {
        str(status): _answer(answer, components) for status, answer in operation.answers.items()
    } | {str(status): error_docs.reference(status, is_openai, components) for status in sorted(errors)}
    return described


def _answer(answer: Answer, components: dict[str, dict[str, Any]]) -> dict[str, Any]:
    headers = ("X-Request-ID", *answer.headers)
    content = {
        media_type: {"schema": shape if isinstance(shape, dict) else _component(shape, components)}
        for media_type, shape in answer.content.items()
    }
    return {
        "description": answer.description,
        "headers": {name: {"$ref": REF.format("headers", name)} for name in headers},
        **({"content": content} if content else {}),
    }


def _component(shape: Any, components: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Add the schema of a type to the components and return a reference to it."""
    schema = TypeAdapter(shape).json_schema(ref_template=REF.format("schemas", "{model}"))
    components["schemas"] |= schema.pop("$defs", {})
    components["schemas"][shape.__name__] = schema
    return {"$ref": REF.format("schemas", shape.__name__)}


def _body(body: type[Body], media_type: str, components: dict[str, dict[str, Any]], settings: Settings) -> Any:
    suffix = "" if media_type == JSON or body.__name__.endswith("Form") else "Form"
    schema = body.model_json_schema(ref_template=REF.format("schemas", "{model}" + suffix))
    for name, definition in schema.pop("$defs", {}).items():
        components["schemas"][name + suffix] = _adapted(definition, JSON if media_type == JSON else NESTED, settings)
    if media_type == FORM and body.HAS_NAMED_FILES:
        schema["additionalProperties"] = {"type": "string", "format": "binary"}
    components["schemas"][body.__name__ + suffix] = _adapted(schema, media_type, settings)
    return {"schema": {"$ref": REF.format("schemas", body.__name__ + suffix)}}


def _adapted(schema: Any, media_type: str, settings: Settings) -> Any:
    """Return a schema as it holds in a media type, with the limits of the settings."""
    if isinstance(schema, list):
        return [_adapted(item, media_type, settings) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _adapted(value, media_type, settings) for name, value in schema.items()}
    if schema.get("format") == TEXT_FORMAT:
        del schema["format"]
        schema["maxLength"] = settings.max_text_chars
    if schema.get("format") == "binary" and media_type != FORM:
        del schema["format"]
        schema |= {"contentEncoding": "base64", "pattern": BASE64} if media_type == JSON else {}
    for name, field_schema in schema.get("properties", {}).items():
        field_schema.pop("title", None)
        if name not in schema.get("required", ()):
            schema["properties"][name] = _optional(field_schema, media_type)
    return schema


def _optional(schema: dict[str, Any], media_type: str) -> dict[str, Any]:
    """Return the schema of a field that may be null in JSON; a form has no null."""
    told = {name: schema[name] for name in ("description", "default") if schema.get(name) is not None}
    rest = {name: value for name, value in schema.items() if name not in ("description", "default")}
    choices = [choice for choice in rest.get("anyOf", [rest]) if choice != {"type": "null"}]
    for choice in choices:
        told = {"description": choice.pop("description")} | told if "description" in choice else told
    if media_type != FORM:
        choices.append({"type": "null"})
    return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **told}
