"""One log line for each request: client, sizes, duration, outcome; never the text or the audio."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request

from csm import log
from csm.web import request_id

logger = logging.getLogger("csm.web")

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of every response that does not set its own."""


@dataclass
class Access:
    """The log entry of one request.

    Attributes:
        id: the request's id.
        method: the HTTP method.
        route: the pattern that matched, or "-"; never the path itself, into which a client can write anything.
        client: the name of the API key, or None.
        outcome: ok, refused, failed, disconnected (by the client), slow (the client read too slowly) or cut (by the
            server).
        noted: further values to log: bytes, characters, seconds, the class of an error.
        started: when the request began, by the monotonic clock.
    """

    id: str
    method: str
    route: str
    client: str | None = None
    outcome: str | None = None
    noted: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds since the request's header was read."""
        return time.monotonic() - self.started

    def write(self, status: int) -> None:
        """Log the line; health checks and files of the page at DEBUG only: they would outnumber everything else."""
        level = logging.DEBUG if self.route.startswith(("/health", "/static")) else logging.INFO
        outcome = "ok" if status < 400 else "refused" if status < 500 or status == 503 else "failed"
        values: dict[str, Any] = {"id": self.id, "key": self.client, "method": self.method, "route": self.route}
        values |= {"status": status, "outcome": self.outcome or outcome, "seconds": self.seconds, **self.noted}
        logger.log(level, "request", extra=log.fields(**values))


def install(app: Flask) -> None:
    """Create an `Access` for each request, and send its id in the response."""
    app.before_request(_open)
    app.after_request(_close)


def current() -> Access:
    """Return the log entry of the current request."""
    found: Access = g.access
    return found


def _open() -> None:
    rule = request.url_rule
    # Clients can send any method; it is logged only if there is a route for it.
    method, route = (request.method, rule.rule) if rule is not None else ("-", "-")
    g.access = Access(request_id.choose(request.headers.get(request_id.HEADER)), method, route)
    log.request_id.set(g.access.id)


def _close(response: Response) -> Response:
    entry = current()
    response.headers[request_id.HEADER] = entry.id
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)

    def close() -> None:
        """Write the line after the last byte, so that it has the full duration and the outcome of a stream."""
        entry.write(response.status_code)
        log.request_id.set(None)

    response.call_on_close(close)
    return response
