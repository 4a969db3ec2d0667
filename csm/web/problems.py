"""Errors as `application/problem+json` (RFC 9457), with `error` for clients that read only that."""

import json
import logging
import math
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from csm import errors, log
from csm.settings import Settings
from csm.web import access
from csm.web.request_id import HEADER

logger = logging.getLogger("csm.web")

MEDIA_TYPE = "application/problem+json"

CLIENT_CLOSED_REQUEST = 499
"""nginx's number for a caller who hung up; nobody is left to read it but the log."""

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
        field: its name, one of ours.
        message: what it must be.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """An answer that says what went wrong and what would help."""
    body = document(status, detail, access.current().id, **members)
    return Response(body, f"{int(status)} {phrase(status)}", headers, mimetype=MEDIA_TYPE)


def document(status: int, detail: str, request_id: str, **members: Any) -> str:
    """The problem itself, as JSON."""
    problem = {"type": "about:blank", "title": phrase(status), "status": int(status), "detail": detail}
    return json.dumps({**problem, "error": detail, "request_id": request_id, **members}, ensure_ascii=False)


def message(status: int, detail: str, request_id: str, headers: Mapping[str, str]) -> bytes:
    """A whole answer as it goes over the wire, the last one of its connection."""
    body = document(status, detail, request_id).encode()
    lines = (
        f"HTTP/1.1 {status} {phrase(status)}",
        f"Date: {formatdate(usegmt=True)}",
        "Connection: close",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"{HEADER}: {request_id}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def retry_headers(error: errors.Unavailable) -> dict[str, str]:
    """What says when to come back."""
    return {"Retry-After": seconds(error.retry_after)}


def phrase(status: int) -> str:
    """The name of a status."""
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase


def install(app: Flask, settings: Settings) -> None:
    """Answer every error, foreseen or not, as a problem."""

    def too_large(_: RequestEntityTooLarge) -> Response:
        return problem(413, f"The upload is too large: at most {settings.max_upload_mb:g} MB and a few fields.")

    app.register_error_handler(RequestEntityTooLarge, too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(errors.CsmError, _ours)
    app.register_error_handler(Exception, _unforeseen)


def seconds(delay: float) -> str:
    """A delay as `Retry-After` wants it: whole seconds, never zero."""
    return str(max(1, math.ceil(delay)))


def _http(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "WWW-Authenticate")}
    return problem(error.code or 500, error.description or "", headers)


def _ours(error: errors.CsmError) -> Response:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    entry = access.current()
    entry.noted["error"] = type(error).__name__
    if status == CLIENT_CLOSED_REQUEST:
        entry.outcome = "gone"
    headers = retry_headers(error) if isinstance(error, errors.Unavailable) else None
    members = {"field": error.field} if isinstance(error, InvalidField) else {}
    return problem(status, str(error), headers, **members)


def _unforeseen(error: Exception) -> Response:
    logger.error("request failed: %s", log.anatomy(error), extra=log.fields(id=access.current().id))
    return problem(500, "Something went wrong on our side; the request id finds it in the server's log.")
