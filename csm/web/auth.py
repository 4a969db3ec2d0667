"""Nothing but `/health*` answers without a key, not even to say that a page does not exist."""

from collections.abc import Iterator

from flask import Flask, request
from werkzeug.datastructures import WWWAuthenticate
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
        name = caller(keys, request.headers.get("Authorization", ""), request.headers.get("X-API-Key", ""))
        if name is None:
            raise Unauthorized(HELP, www_authenticate=CHALLENGE)
        access.current().caller = name

    app.before_request(guard)


def caller(keys: Keyring, authorization: str, api_key: str) -> str | None:
    """The name of the first valid key in these headers of a request, or None."""
    return next(filter(None, map(keys.name_of, _presented(authorization, api_key))), None)


def _presented(authorization: str, api_key: str) -> Iterator[bytes]:
    """The keys in the headers, as the bytes that were on the wire: WSGI hands them over as latin-1.

    Both headers are tried, because a proxy may use `Authorization` for a login of its own.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip().encode("latin-1", "replace")
    if api_key:
        yield api_key.strip().encode("latin-1", "replace")
