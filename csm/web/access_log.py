"""One log line for each request: who, what size, how long, how it ended; never what was said."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request

from csm import log
from csm.web import request_id

logger = logging.getLogger("csm.web")

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer that does not set its own."""


@dataclass
class Access:
    """What is logged about one request.

    Attributes:
        id: the request's id.
        method: as sent.
        route: the pattern that matched, or "-"; never the path itself, which a client can fill with anything.
        client: the name of the key, or None.
        outcome: ok, refused, failed, disconnected (by the client), slow (the client did not read) or cut (by us).
        noted: what else is worth knowing: bytes, characters, seconds, the class of an error.
        started: on the monotonic clock.
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
        """Log the line; health checks only at DEBUG, or they would drown the rest."""
        level = logging.DEBUG if self.route.startswith("/health") else logging.INFO
        outcome = "ok" if status < 400 else "refused" if status < 500 or status == 503 else "failed"
        values: dict[str, Any] = {"id": self.id, "key": self.client, "method": self.method, "route": self.route}
        values |= {"status": status, "outcome": self.outcome or outcome, "seconds": self.seconds, **self.noted}
        logger.log(level, "request", extra=log.fields(**values))


def install(app: Flask) -> None:
    """Give each request its `Access` and each answer its id."""
    app.before_request(_open)
    app.after_request(_close)


def current() -> Access:
    """Return the entry of the request that is being served."""
    found: Access = g.access
    return found


def _open() -> None:
    rule = request.url_rule
    # A client may invent methods; those without a route are not logged.
    method, route = (request.method, rule.rule) if rule is not None else ("-", "-")
    g.access = Access(request_id.choose(request.headers.get(request_id.HEADER)), method, route)


def _close(response: Response) -> Response:
    entry = current()
    response.headers[request_id.HEADER] = entry.id
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # After the last byte, so that the line has the whole duration and how a stream ended.
    response.call_on_close(lambda: entry.write(response.status_code))
    return response
