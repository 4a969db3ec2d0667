"""The files of the web pages, in memory, with the headers that browsers need."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Response, request

FOLDER = Path(__file__).with_name("static")

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
