"""Requests to `/clone-voice` through Flask's test client."""

import io
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

KEY = {"X-API-Key": "secret"}
"""The header of the key that `app_settings` accepts."""


def clone_form(text: str = "chunks=3", audio: bytes = b"sound", **fields: str) -> dict[str, Any]:
    """Return the form of a valid request; `text` is a script of `FakeSynthesizer`."""
    return {"audio": (io.BytesIO(audio), "me.wav"), "text": text, **fields}


def post_clone(client: FlaskClient, key: str = "secret", **options: Any) -> TestResponse:
    """Send a valid request and read the whole answer."""
    return client.post("/clone-voice", data=clone_form(), headers={"X-API-Key": key}, buffered=True, **options)


def clone_statuses(client: FlaskClient, count: int, **options: Any) -> list[int]:
    """Send valid requests one after the other and return their statuses."""
    return [post_clone(client, **options).status_code for _ in range(count)]
