"""Authentication: every path requires an API key, even one that does not exist, except those of a few blueprints.

`/metrics` requires a key of its own, which opens nothing else.
"""

from collections.abc import Iterator, Set

from flask import Flask, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from csm.speech.voices.api import ANONYMOUS
from csm.web import access_log
from csm.web.keys import Keyring

CHALLENGE = WWWAuthenticate("bearer", {"realm": "csm"})
HELP = "A valid key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


def install(app: Flask, keys: Keyring, metrics_keys: Keyring, *, public: Set[str], metrics: str) -> None:
    """Require a key for every request, except those to public blueprints.

    Args:
        app: the application to install it in.
        keys: the keys of the API; if there are none, it is open.
        metrics_keys: the keys of the metrics.
        public: names of the blueprints whose routes need no key.
        metrics: name of the blueprint whose routes need a key of the metrics.
    """

    def guard() -> None:
        required = metrics_keys if request.blueprint == metrics else keys
        if request.blueprint in public or not required.is_needed:
            return
        presented = _presented(request.headers.get("Authorization", ""), request.headers.get("X-API-Key", ""))
        key = next(filter(None, map(required.find, presented)), None)
        if key is None:
            raise Unauthorized(HELP, www_authenticate=CHALLENGE)
        access_log.current().client = key.name
        g.owner = key.owner

    app.before_request(guard)


def owner() -> str:
    """Return who owns the voices that the current request stores and finds."""
    found: str = g.get("owner", ANONYMOUS)
    return found


def _presented(authorization: str, api_key: str) -> Iterator[bytes]:
    """Yield the keys in the headers, as the bytes that were sent (WSGI decodes headers as latin-1).

    Both headers are tried, because a proxy may use `Authorization` for its own login.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip().encode("latin-1", "replace")
    if api_key:
        yield api_key.strip().encode("latin-1", "replace")
