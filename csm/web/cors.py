"""Which web pages may call from a browser: those of CSM_CORS_ORIGINS, and by default none."""

from flask import Flask, Response, request

from csm.settings import Settings

ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
EXPOSED = {"Access-Control-Expose-Headers": "Content-Disposition, Retry-After, X-Request-ID"}


def install(app: Flask, settings: Settings) -> None:
    """Answer preflights, and mark answers as readable, for the origins of the settings.

    Keys travel in headers, never in cookies, so credentials are not allowed and `*` is safe to configure.
    """
    origins = frozenset(settings.cors_origins)
    if not origins:
        return

    def admitted() -> bool:
        return "Origin" in request.headers and ("*" in origins or request.headers["Origin"] in origins)

    def preflight() -> Response | None:
        """Browsers send preflights without the key, so they are answered before it is asked for."""
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=204, headers=ALLOWED) if asks and admitted() else None

    def mark(response: Response) -> Response:
        response.vary.add("Origin")
        if admitted():
            response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else request.headers["Origin"]
            response.headers.extend(EXPOSED)
        return response

    app.before_request(preflight)
    app.after_request(mark)
