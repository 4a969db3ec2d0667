"""Keep pages of other sites from using a server that asks for no key.

A browser lets any page send a form to an address on the user's own machine, and a page can point its own domain name
there (DNS rebinding). Without keys, nothing but the headers `Host` and `Origin` tells such requests from the user's.
"""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import Forbidden

from csm.settings import Settings

HOST_HELP = "Without keys this server answers only to localhost and 127.0.0.1: use such an address, or set CSM_API_KEYS."
ORIGIN_HELP = "Without keys this server takes no requests from pages of other sites: set CSM_CORS_ORIGINS to allow one."


def install(app: Flask, settings: Settings) -> None:
    """Check `Host` and `Origin` of every request where no keys are configured."""
    if settings.has_keys:
        return
    # Under any other name it may be reached only by an operator's decision: a public address, or a proxy in front.
    is_local = not (settings.allow_anonymous or settings.trusted_proxies)

    def guard() -> None:
        host = request.environ.get("HTTP_HOST", "")
        if is_local and host and not _is_loopback(host):
            raise Forbidden(HOST_HELP)
        origin = request.headers.get("Origin")
        is_own = host and origin and origin.partition("://")[2] == host
        if origin is not None and not is_own and not {origin, "*"} & {*settings.cors_origins}:
            raise Forbidden(ORIGIN_HELP)

    app.before_request(guard)


def _is_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine, whatever a name server says."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
