"""GET / and /static/…: the web page that records a voice and clones it; needs no key and has no quota."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, request

from csm.settings import Settings

NAME = "page"

FOLDER = Path(__file__).parents[1] / "static"

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""By suffix. Those that Python knows depend on the machine, and browsers run no module with a wrong one."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}


def policy(directives: Mapping[str, str]) -> str:
    """Return the value of `Content-Security-Policy`."""
    return "; ".join(f"{name} {value}" for name, value in directives.items())


HEADERS = {
    "Content-Security-Policy": policy(POLICY),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Browsers keep each file, but ask whether it has changed: the files of two versions never meet in one page.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class StaticFile:
    """A file of the page, in memory.

    Attributes:
        content: its bytes.
        media_type: for `Content-Type`.
        etag: changes with the content; modification times are lost in wheels and images.
    """

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> "StaticFile":
        """Read a file.

        Raises:
            KeyError: there is no media type for its suffix.
        """
        content = path.read_bytes()
        return cls(content, MEDIA_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])

    def response(self) -> Response:
        """Return the file, or 304 if the client has it."""
        answer = Response(self.content, mimetype=self.media_type, headers=HEADERS)
        answer.set_etag(self.etag)
        answer.make_conditional(request)
        return answer


def blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint of the routes; reads all files once, so that no request can reach another one."""
    routes = Blueprint(NAME, __name__)
    paths = [path for path in FOLDER.rglob("*.*") if path.suffix in MEDIA_TYPES]
    files = {path.relative_to(FOLDER).as_posix(): StaticFile.read(path) for path in paths}

    @routes.get("/")
    def index() -> Response:
        return files["index.html"].response()

    @routes.get("/static/<path:name>")
    def static(name: str) -> Response:
        return files[name].response() if name in files else abort(404)

    @routes.get("/page.json")
    def page() -> dict[str, Any]:
        """Return what the page must know before it can send a request."""
        return {
            "key_required": settings.has_keys,
            "consent_required": settings.require_consent,
            "max_text_chars": settings.max_text_chars,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_reference_seconds": settings.max_reference_seconds,
            "recognizes_transcripts": settings.transcriber != "none",
            "stores_voices": settings.voices_dir is not None,
        }

    return routes
