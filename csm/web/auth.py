"""Authentication: every path requires an API key, even one that does not exist, except those of a few blueprints."""

from collections.abc import Iterator

from flask import Flask, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from csm.web import access_log
from csm.web.keys import Keyring

PUBLIC = frozenset({"health", "docs", "page"})
"""The blueprints whose routes need no key."""

CHALLENGE = WWWAuthenticate("bearer", {"realm": "csm"})
HELP = "A valid key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


def install(app: Flask, keys: Keyring) -> None:
    """Require a key for every request, except those to `PUBLIC` blueprints."""
    if not keys.is_needed:
        return

    def guard() -> None:
        if request.blueprint in PUBLIC:
            return
        presented = _presented(request.headers.get("Authorization", ""), request.headers.get("X-API-Key", ""))
        name = next(filter(None, map(keys.name_of, presented)), None)
        if name is None:
            raise Unauthorized(HELP, www_authenticate=CHALLENGE)
        access_log.current().client = name

    app.before_request(guard)


def _presented(authorization: str, api_key: str) -> Iterator[bytes]:
    """Yield the keys in the headers, as the bytes that were sent (WSGI decodes headers as latin-1).

    Both headers are tried, because a proxy may use `Authorization` for its own login.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip().encode("latin-1", "replace")
    if api_key:
        yield api_key.strip().encode("latin-1", "replace")
