"""Cross-origin requests: pages of the origins in CSM_CORS_ORIGINS may use the server; by default none may.

Where a key is required in a header, pages of other sites cannot use the server. Without keys, any page can make a
browser send a form to an address on the user's own machine, or let its own domain name resolve to that address (DNS
rebinding). Only the headers `Host` and `Origin` distinguish such requests from the user's own.
"""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import Forbidden

from csm.settings import Settings

ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Voice",
    "Access-Control-Max-Age": "600",
}
EXPOSED = {
    "Access-Control-Expose-Headers": "Content-Disposition, Retry-After, X-Finish-Reason, X-Reference-Warnings, "
    "X-Request-ID, X-Text-Language, X-Transcript, X-Transcript-Source, X-Watermark"
}

HOST_HELP = "Without keys this server answers to localhost and 127.0.0.1 only: call it so, or set CSM_API_KEYS."
ORIGIN_HELP = "Without keys this server takes no requests from pages of other sites: set CSM_CORS_ORIGINS to allow one."


def install(app: Flask, settings: Settings) -> None:
    """Refuse pages of other sites if no keys are configured, answer preflights, and add the CORS headers.

    Keys are sent in headers, never in cookies, so credentials are not allowed and `*` is safe to configure.
    """
    origins = frozenset(settings.cors_origins)
    # Behind a proxy or on a public address, the server may have any name.
    is_local = not settings.allow_anonymous

    def is_allowed() -> bool:
        return "Origin" in request.headers and ("*" in origins or request.headers["Origin"] in origins)

    def guard() -> None:
        host, origin = request.environ.get("HTTP_HOST", ""), request.headers.get("Origin")
        if is_local and host and not _is_loopback(host):
            raise Forbidden(HOST_HELP)
        if origin is not None and not is_allowed() and not (host and origin.partition("://")[2] == host):
            raise Forbidden(ORIGIN_HELP)

    def preflight() -> Response | None:
        """Answer a preflight request before the key is checked, since browsers send it without one."""
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=204, headers=ALLOWED) if asks and is_allowed() else None

    def mark(response: Response) -> Response:
        response.vary.add("Origin")
        if is_allowed():
            response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else request.headers["Origin"]
            response.headers.extend(EXPOSED)
        return response

    if not settings.has_keys:
        app.before_request(guard)
    if origins:
        app.before_request(preflight)
        app.after_request(mark)


def _is_loopback(host: str) -> bool:
    """Return whether a `Host` header names this machine, without a DNS lookup."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
