"""GET / and /static/…: the web page that records a voice and clones it; needs no key and has no quota."""

from typing import Any

from flask import Blueprint, Response, abort

from csm.settings import Settings
from csm.web.static_files import FOLDER, MEDIA_TYPES, StaticFile

NAME = "page"


def blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint of the routes; reads all files once, so that no request can reach another one."""
    routes = Blueprint(NAME, __name__)
    start = StaticFile.read(FOLDER / "index.html")
    # Each page has its own route, and with it its own policy.
    paths = [path for path in FOLDER.rglob("*.*") if path.suffix in MEDIA_TYPES.keys() - {".html"}]
    files = {path.relative_to(FOLDER).as_posix(): StaticFile.read(path) for path in paths}

    @routes.get("/")
    def index() -> Response:
        return start.response()

    @routes.get("/static/<path:name>")
    def static(name: str) -> Response:
        return files[name].response() if name in files else abort(404)

    @routes.get("/page.json")
    def page() -> dict[str, Any]:
        """Return what the page must know before it can send a request."""
        return {
            "key_required": settings.has_keys,
            "max_text_chars": settings.max_text_chars,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_reference_seconds": settings.max_reference_seconds,
            "recognizes_transcripts": settings.transcriber != "none",
            "stores_voices": settings.voices_dir is not None and not settings.is_open_to_all,
        }

    return routes
