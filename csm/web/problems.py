"""Errors as `application/problem+json` (RFC 9457), with a member `error` for clients that read only that."""

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from csm import errors, log
from csm.settings import Settings
from csm.web import access_log

logger = logging.getLogger("csm.web")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; it appears only in the log."""

STATUS: dict[type[errors.CsmError], int] = {
    errors.UndecodableAudio: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnusableReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.GenerationFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Cancelled: CLIENT_CLOSED_REQUEST,
}


class InvalidField(errors.InvalidRequest):
    """A form field is out of range.

    Args:
        field: the name of the field; never a name that the client made up.
        message: what the value must be.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """Return a problem document that says what went wrong and what to do."""
    title = "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    document |= {"error": detail, "request_id": access_log.current().id, **members}
    body = json.dumps(document, ensure_ascii=False)
    return Response(body, f"{int(status)} {title}", headers, mimetype="application/problem+json")


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
    logger.error("request failed: %s", log.redacted_traceback(error), extra=log.fields(id=access_log.current().id))
    return problem(500, "Something went wrong on our side; the request id finds it in the server's log.")
