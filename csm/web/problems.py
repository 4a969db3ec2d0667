"""Errors as `application/problem+json` (RFC 9457); under `/v1`, in the shape of OpenAI's API."""

import json
import logging
import math
import re
from http import HTTPStatus
from typing import NotRequired

from flask import Flask, Response, request
from typing_extensions import TypedDict
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from csm import errors, log
from csm.settings import Settings
from csm.web import access_log

logger = logging.getLogger("csm.web")

OPENAI_PREFIX = "/v1/"

UNFORESEEN = "Something went wrong on our side; the request id finds it in the server's log."

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; it appears only in the log."""


class Problem(TypedDict):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    request_id: str
    field: NotRequired[str]


class OpenAIError(TypedDict):
    """What went wrong, as OpenAI says it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrors(TypedDict):
    """An error document of OpenAI's API."""

    error: OpenAIError


class InvalidField(errors.InvalidRequest):
    """A field of a body is unknown or out of range.

    Args:
        field: the name of the field; never a name that the client made up.
        message: what the value must be.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class MissingField(InvalidField):
    """A required field of a body is missing."""


class ModelNotFound(InvalidField):
    """The model that a client asks for is not the one that is served."""


STATUS: dict[type[errors.CsmError], int] = {
    errors.UndecodableAudio: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnusableReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    MissingField: HTTPStatus.BAD_REQUEST,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    errors.UnknownVoice: HTTPStatus.NOT_FOUND,
    errors.NotAllowed: HTTPStatus.FORBIDDEN,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.StorageFailed: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.DamagedVoice: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.GenerationFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Cancelled: CLIENT_CLOSED_REQUEST,
}


def problem(
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    field: str | None = None,
    code: str | None = None,
) -> Response:
    """Return an error document: a problem, with a member `error` for clients that read only that, or OpenAI's.

    Args:
        status: of the answer.
        detail: says what went wrong and what to do.
        headers: of the answer.
        field: name of the field that is wrong.
        code: a word for the error, in OpenAI's documents.
    """
    is_openai = request.path.startswith(OPENAI_PREFIX)
    if is_openai and status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST  # as OpenAI answers
    title = "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase
    document: Problem | OpenAIErrors
    if is_openai:
        document, media_type = openai_error(status, detail, field, code), "application/json"
    else:
        document = problem_document(status, title, detail, access_log.current().id)
        if field is not None:
            document["field"] = field
        media_type = "application/problem+json"
    body = json.dumps(document, ensure_ascii=False)
    return Response(body, f"{int(status)} {title}", headers, mimetype=media_type)


def problem_document(status: int, title: str, detail: str, request_id: str) -> Problem:
    """Return a problem document."""
    return {
        "type": "about:blank",
        "title": title,
        "status": int(status),
        "detail": detail,
        "error": detail,
        "request_id": request_id,
    }


def openai_error(status: int, detail: str, field: str | None = None, code: str | None = None) -> OpenAIErrors:
    """Return an error document in the shape of OpenAI's API."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    codes = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": detail, "type": kind, "param": field or None, "code": code or codes.get(status)}}


def status_of(error: errors.CsmError) -> int:
    """Return the HTTP status of an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def code_of(error: Exception) -> str:
    """Return the name of an error's class as a word, such as `model_not_found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def install(app: Flask, settings: Settings) -> None:
    """Answer every error, expected or not, with a problem document."""
    too_large = f"The upload is too large: at most {settings.max_upload_mb:g} MB and a few fields."
    app.register_error_handler(RequestEntityTooLarge, lambda _: problem(413, too_large))
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(errors.CsmError, _ours)
    app.register_error_handler(Exception, _unforeseen)


def seconds(delay: float) -> str:
    """Return a delay as the value of `Retry-After`: whole seconds, at least 1."""
    return str(max(1, math.ceil(delay)))


def _http(error: HTTPException) -> Response:
    headers = {
        name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After", "WWW-Authenticate")
    }
    return problem(error.code or 500, error.description or "", headers)


def _ours(error: errors.CsmError) -> Response:
    status = status_of(error)
    entry = access_log.current()
    entry.noted["error"] = type(error).__name__
    if status == CLIENT_CLOSED_REQUEST:
        entry.outcome = "disconnected"
    headers = {"Retry-After": seconds(error.retry_after)} if isinstance(error, errors.Unavailable) else None
    field = error.field if isinstance(error, InvalidField) else None
    if isinstance(error, errors.UnknownVoice):
        field = "voice"
    return problem(status, str(error), headers, field=field, code=code_of(error))


def _unforeseen(error: Exception) -> Response:
    logger.error("request failed: %s", log.redacted_traceback(error))
    return problem(500, UNFORESEEN)
