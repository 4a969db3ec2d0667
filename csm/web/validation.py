"""`Body`, the base class of all request bodies: converts, validates, and explains in one sentence what is wrong."""

import base64
import binascii
import difflib
import functools
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from csm.settings import Settings
from csm.web import json_body
from csm.web.problems import InvalidField, MissingField

TEXT_FORMAT = "text"
"""The `format` of texts in JSON schemas; marks where `CSM_MAX_TEXT_CHARS` is the maximum length."""

_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
# Narrower than float() and int(), which take "nan", "1_000" and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"\d{1,19}", re.ASCII)
_DATA_URI = re.compile(r"data:[^,]{0,100};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{0,20}:", re.IGNORECASE)


class Body(BaseModel):
    """A request body. A subclass is its whole definition: fields, ranges, defaults, and their descriptions.

    JSON values must have the right type. In a form, all values are text and are converted by the type of their field;
    optional fields may be blank, as HTML forms send them, and then count as absent, as null does in JSON.
    """

    HAS_NAMED_FILES: ClassVar = False
    """Whether the files of a form may have any name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, str_strip_whitespace=True)

    @classmethod
    def from_form(cls, form: Mapping[str, Any], settings: Settings) -> Self:
        """Return the body that a form describes: text fields as `str`, files as `bytes` or a list of them.

        Raises:
            MissingField, InvalidField: a field is missing, unknown or out of range.
        """
        properties, values = _schema(cls)["properties"], {}
        for name, value in form.items():
            text = value.strip() if isinstance(value, str) else value
            if text != "" or name not in _optional(cls):
                values[name] = _typed(name, properties.get(name, {}), text)
        return cls.from_json(values, settings)

    @classmethod
    def from_json(cls, document: Any, settings: Settings) -> Self:
        """Return the body that a parsed JSON document describes.

        Raises:
            MissingField, InvalidField: a field is missing, unknown or out of range; the message never contains its
                value.
        """
        try:
            return cls.model_validate(document, context=settings)
        except ValidationError as error:
            raise _explain(cls, error.errors(include_url=False, include_input=False)) from None

    @classmethod
    def files(cls) -> list[str]:
        """Return the names of the fields that are files in a form."""
        kinds = {name: _unwrap(schema) for name, schema in _schema(cls)["properties"].items()}
        return [name for name, kind in kinds.items() if kind.get("items", kind).get("format") == "binary"]

    @classmethod
    def repeatable(cls) -> set[str]:
        """Return the names of the fields that may be sent several times in a form: lists of files or of texts."""
        kinds = {name: _unwrap(schema) for name, schema in _schema(cls)["properties"].items()}
        return {name for name, kind in kinds.items() if kind.get("items", {}).get("type") == "string"}

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        present = {name: values[name] for name in cls.model_fields if name in values}
        kept = {name: value for name, value in present.items() if value is not None or name not in _optional(cls)}
        # One unknown field is enough to be refused: pydantic would make an error for each of a hundred thousand.
        return kept | dict(itertools.islice(((name, 1) for name in values if name not in present), 1))


def settings_of(info: ValidationInfo) -> Settings:
    """Return the settings that a body is being validated with."""
    found: Settings = info.context  # type: ignore[assignment]
    return found


def rule_error(rule: str, field: str = "") -> PydanticCustomError:
    """Return the error to raise in a validator: a field breaks a rule.

    Args:
        rule: what follows the field's name in the message, such as "must be even".
        field: name of the field; not needed in the validator of a field.
    """
    return PydanticCustomError("rule", rule, {"field": field})


def missing_error(field: str) -> PydanticCustomError:
    """Return the error to raise in a validator: a field is needed because of the others."""
    return PydanticCustomError("missing", "missing", {"field": field})


def _within_limit(text: str, info: ValidationInfo) -> str:
    most = settings_of(info).max_text_chars
    if not text.strip() or len(text) > most:
        raise rule_error(f"must have 1 to {most} characters")
    return text


def _blank_as_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _from_base64(value: Any) -> Any:
    """Return the bytes that base64 or a data URI contains; files of a form are bytes already."""
    if not isinstance(value, str):
        return value
    encoded = _DATA_URI.sub("", value, count=1) if _DATA_URI.match(value) else value
    if _ADDRESS.match(encoded):
        raise rule_error("must be the audio itself, in base64 or a data URI; addresses are not fetched")
    try:
        # Not `split`, which makes an object of every group.
        content = base64.b64decode(encoded.encode("ascii").translate(None, b" \t\r\n\v\f"), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise rule_error("must be audio in base64, or a data URI that begins with data:audio/wav;base64,")
    return content


_Limited = Annotated[str, AfterValidator(_within_limit), Field(json_schema_extra={"format": TEXT_FORMAT})]

Text = Annotated[_Limited, Field(json_schema_extra={"minLength": 1, "pattern": r"[^\s\x1c-\x1f\x85]"})]
"""A text of 1 to `CSM_MAX_TEXT_CHARS` characters."""

OptionalText = Annotated[_Limited | None, BeforeValidator(_blank_as_none)]
"""A `Text` that may be blank, and is then None."""

Audio = Annotated[bytes, BeforeValidator(_from_base64), Field(json_schema_extra={"minLength": 1})]
"""The content of an audio file: a file in a form, base64 or a data URI in JSON."""


@functools.cache
def _optional(body: type[Body]) -> frozenset[str]:
    """Return the names of the fields that a body need not have."""
    return frozenset(name for name, field in body.model_fields.items() if not field.is_required())


@functools.cache
def _schema(body: type[Body]) -> dict[str, Any]:
    """Return the JSON Schema of a body, with references replaced by what they refer to."""
    schema = body.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]])
        return {name: resolve(value) for name, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved


def _unwrap(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the value of an optional field."""
    return next((choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"), schema)


def _typed(name: str, schema: dict[str, Any], value: Any) -> Any:
    """Return a form's text as the type of its field; text that is not of this type stays, and will be refused.

    Raises:
        BadRequest: the field is a list or an object, and its text is not JSON.
    """
    kind = _unwrap(schema).get("type")
    if not isinstance(value, str):
        return value
    if kind == "number" and _DECIMAL.fullmatch(value):
        return float(value)
    if kind == "integer" and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "boolean" and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if kind in ("array", "object"):
        return json_body.parse(value.encode(), f"The field '{name}'")
    return value


def _explain(body: type[Body], found: list[ErrorDetails]) -> InvalidField:
    """Return the error to report: an unknown field, else a missing one, else the first that is out of range."""
    order = ("extra_forbidden", "missing")
    error = min(found, key=lambda error: order.index(error["type"]) if error["type"] in order else len(order))
    *outer, last = error["loc"] or ("",)
    if error["type"] == "extra_forbidden":
        name, schema = _locate(_schema(body), outer)
        known = list(schema["properties"])
        close = difflib.get_close_matches(str(last).lower()[:64], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}."
        return InvalidField(f"{name}.{close[0]}".lstrip(".") if close else "", f"There is an unknown field: {hint}")
    name, schema = _locate(_schema(body), error["loc"])
    if field := error.get("ctx", {}).get("field"):
        name = f"{name}.{field}".lstrip(".")
    if error["type"] == "missing":
        return MissingField(name, f"The field '{name}' is missing.")
    if error["type"] == "rule":
        return InvalidField(name, f"{name} {error['msg']}.".lstrip())
    if error["type"] == "string_unicode":
        return InvalidField(name, f"{name} contains half of a surrogate pair, which is no character.")
    return InvalidField(name, f"{name or 'The body'} must be {_expected(schema)}.")


def _locate(schema: dict[str, Any], loc: Iterable[str | int]) -> tuple[str, dict[str, Any]]:
    """Return the name of a field within a body, such as `turns[1].text`, and its schema."""
    name, names = "", dict[str, Any]()
    for step in loc:
        schema = _unwrap(schema)
        if isinstance(step, int):
            name, schema = f"{name}[{step}]", schema.get("items", {})
        elif step == "[key]":  # how pydantic says that the last step itself is wrong
            schema = names
        elif step in schema.get("properties", {}):
            name, schema = f"{name}.{step}", schema["properties"][step]
        else:  # a name that the client made up
            names = {"type": "string", **schema.get("propertyNames", {})}
            name, schema = f"{name}.*", schema.get("additionalProperties") or {}
    return name.lstrip("."), _unwrap(schema)


def _expected(schema: dict[str, Any]) -> str:
    """Describe the values that a schema allows."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kinds = {"number": "a number", "integer": "a whole number", "boolean": "true or false"}
    kinds |= {"string": "text", "array": "a list", "object": "an object"}
    kind = kinds.get(schema.get("type", ""), "valid")
    if "maximum" in schema:
        low, high = (str(schema[name]).removesuffix(".0") for name in ("minimum", "maximum"))
        return f"{kind} from {low} to {high}"
    for unit, least, most in (("items", "minItems", "maxItems"), ("characters", "minLength", "maxLength")):
        if most in schema:
            return f"{kind} of {schema.get(least, 0)} to {schema[most]} {unit}"
    return kind
