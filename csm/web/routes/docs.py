"""GET /openapi.json and /docs: the OpenAPI document, and a page that shows it; both need no key."""

import functools
from collections.abc import Set

from flask import Blueprint, Response, current_app

from csm.settings import Settings
from csm.web import openapi
from csm.web.static_files import FOLDER, POLICY, StaticFile, policy

NAME = "docs"

# Swagger UI makes HTML from strings, shows icons from data URLs, and plays an answer from a blob.
DOCS_POLICY = {name: value for name, value in POLICY.items() if name != "require-trusted-types-for"}
DOCS_POLICY["img-src"] = "'self' data:"


def blueprint(settings: Settings, public: Set[str]) -> Blueprint:
    """Return the blueprint of the routes.

    Args:
        settings: of the server.
        public: names of the blueprints whose routes need no key.
    """
    routes = Blueprint(NAME, __name__)
    page = StaticFile.read(FOLDER / "docs" / "docs.html")

    @functools.cache
    def document() -> bytes:
        return current_app.json.dumps(openapi.build(current_app, settings, public)).encode()

    @routes.get("/openapi.json")
    def get_openapi() -> Response:
        return Response(document(), mimetype=openapi.JSON)

    @routes.get("/docs")
    def get_page() -> Response:
        answer = page.response()
        answer.headers["Content-Security-Policy"] = policy(DOCS_POLICY)
        return answer

    return routes
