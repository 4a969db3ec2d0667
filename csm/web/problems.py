"""Errors as `application/problem+json` (RFC 9457); under `/v1`, in the shape of OpenAI's API."""

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from csm import errors, log
from csm.settings import Settings
from csm.web import access_log

logger = logging.getLogger("csm.web")

OPENAI_PREFIX = "/v1/"

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; it appears only in the log."""


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


STATUS: dict[type[errors.CsmError], int] = {
    errors.UndecodableAudio: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnusableReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    MissingField: HTTPStatus.BAD_REQUEST,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.GenerationFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Cancelled: CLIENT_CLOSED_REQUEST,
}


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """Return an error document that says what went wrong and what to do.

    Problem documents also have a member `error`, for clients that read only that.

    Args:
        status: of the answer.
        detail: one or two sentences for the client.
        headers: of the answer.
        members: `field`, the name of a wrong field, and `code`, OpenAI's word for the error.
    """
    title = "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase
    if request.path.startswith(OPENAI_PREFIX):
        # OpenAI's clients have a class for each status, and expect 400 for all fields.
        status = HTTPStatus.BAD_REQUEST if "field" in members else status
        document, media_type = openai_error(status, detail, **members), "application/json"
    else:
        document = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
        document |= {"error": detail, "request_id": access_log.current().id, **members}
        media_type = "application/problem+json"
    body = json.dumps(document, ensure_ascii=False)
    return Response(body, f"{int(status)} {title}", headers, mimetype=media_type)


def openai_error(status: int, detail: str, field: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return an error document in the shape of OpenAI's API."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    codes = {401: "invalid_api_key", 429: "rate_limit_exceeded", 503: "server_overloaded"}
    return {"error": {"message": detail, "type": kind, "param": field or None, "code": code or codes.get(status)}}


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
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    entry = access_log.current()
    entry.noted["error"] = type(error).__name__
    if status == CLIENT_CLOSED_REQUEST:
        entry.outcome = "disconnected"
    headers = {"Retry-After": seconds(error.retry_after)} if isinstance(error, errors.Unavailable) else None
    members = {"field": error.field} if isinstance(error, InvalidField) else {}
    return problem(status, str(error), headers, **members)


def _unforeseen(error: Exception) -> Response:
    logger.error("request failed: %s", log.redacted_traceback(error))
    return problem(500, "Something went wrong on our side; the request id finds it in the server's log.")
