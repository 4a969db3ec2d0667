"""One log line for each request: client, sizes, duration, outcome; never the text or the audio."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request

from csm import log
from csm.audio.continuity import SimulatedPlayer
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
        player: receives the audio of a streamed answer; None otherwise.
        started: when the request began, by the monotonic clock.
    """

    id: str
    method: str
    route: str
    client: str | None = None
    outcome: str | None = None
    noted: dict[str, Any] = field(default_factory=dict)
    player: SimulatedPlayer | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds since the request's header was read."""
        return time.monotonic() - self.started

    @property
    def is_frequent(self) -> bool:
        """Whether it is a health check, or a request for the metrics or a file of the page: they outnumber the rest."""
        return self.route.startswith(("/health", "/metrics", "/static"))

    def write(self, status: int) -> None:
        """Log the line; those of frequent requests at DEBUG only."""
        values: dict[str, Any] = {"id": self.id, "key": self.client, "method": self.method, "route": self.route}
        values |= {"status": status, "outcome": self.outcome, "seconds": self.seconds, **self.noted}
        if self.player is not None:
            values["underruns"] = len(self.player.gaps)
        logger.log(logging.DEBUG if self.is_frequent else logging.INFO, "request", extra=log.fields(**values))


def install(app: Flask, observe: Callable[[Access, int], None]) -> None:
    """Create an `Access` for each request, and send its id in the response.

    Args:
        app: the application to install it in.
        observe: called with the entry and the status of each request that is not frequent, after its last byte.
    """

    def close(response: Response) -> Response:
        entry = current()
        response.headers[request_id.HEADER] = entry.id
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        # After the last byte, so that the line has the full duration and the outcome of a stream.
        response.call_on_close(lambda: _finish(entry, response.status_code, observe))
        return response

    app.before_request(_open)
    app.after_request(close)


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


def _finish(entry: Access, status: int, observe: Callable[[Access, int], None]) -> None:
    if entry.outcome is None:
        entry.outcome = "ok" if status < 400 else "refused" if status < 500 or status == 503 else "failed"
    entry.write(status)
    if not entry.is_frequent:
        observe(entry, status)
    log.request_id.set(None)
