"""Nothing but `/health*` answers without a key, not even to say that a page does not exist."""

from collections.abc import Iterator

from flask import Flask, request
from werkzeug.datastructures import Headers, WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from csm.web import access, health
from csm.web.keys import Keyring

CHALLENGE = WWWAuthenticate("bearer", {"realm": "csm"})
HELP = "A valid key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


def install(app: Flask, keys: Keyring) -> None:
    """Guard every request but those for the health of the server."""
    if not keys.is_needed:
        return

    def guard() -> None:
        if request.blueprint == health.NAME:
            return
        name = caller(keys, request.headers)
        if name is None:
            raise Unauthorized(HELP, www_authenticate=CHALLENGE)
        access.current().caller = name

    app.before_request(guard)


def caller(keys: Keyring, headers: Headers) -> str | None:
    """The name of the first valid key in a request's headers, or None."""
    return next(filter(None, map(keys.name_of, _presented(headers))), None)


def _presented(headers: Headers) -> Iterator[bytes]:
    """The keys in the headers, as the bytes that were on the wire: WSGI hands them over as latin-1.

    Both headers are tried, because a proxy may use `Authorization` for a login of its own.
    """
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip().encode("latin-1", "replace")
    if "X-API-Key" in headers:
        yield headers["X-API-Key"].strip().encode("latin-1", "replace")
