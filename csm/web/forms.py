"""Parse multipart bodies of untrusted clients: in memory only, limited in size, refused if incomplete or ambiguous."""

import contextlib
import io
from collections.abc import Iterable
from typing import IO, Any

import flask
from flask import Flask
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from csm.settings import Settings
from csm.web import disconnect

BODY_SECONDS = 15.0
"""Time in which the whole body must arrive. A slower client needs a proxy that buffers the body first."""

DRAIN_BYTES, DRAIN_SECONDS = 64_000_000, 5.0

SLOW = f"The body did not arrive within {BODY_SECONDS:.0f} seconds."

BROKEN = (
    "The multipart body is malformed or ends before its final boundary; "
    "let your HTTP client build it, and do not set its Content-Type by hand."
)


class Request(flask.Request):
    """A request whose files stay in memory and whose form is complete or an error."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        """Return a stream in memory; werkzeug would write files over 500 kB to disk."""
        return io.BytesIO()

    def make_form_data_parser(self) -> FormDataParser:
        """Return a parser that raises for a truncated body; werkzeug's default treats it as an empty form."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser


def install(app: Flask, settings: Settings) -> None:
    """Set the size limits of a body."""
    app.request_class = Request
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = max(500_000, 16 * settings.max_text_chars)
    app.config["MAX_FORM_PARTS"] = 32
    app.after_request(_drain_after)


def parts(request: flask.Request, texts: Iterable[str], file: str) -> tuple[dict[str, str], bytes]:
    """Return the text fields, unknown ones included, and the content of the one file of a form.

    Raises:
        UnsupportedMediaType: the body is not a multipart form.
        BadRequest: a part is missing, repeated, of the wrong kind or malformed, or the body arrived too slowly.
        RequestEntityTooLarge: the body is too large or has too many parts.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the parts 'audio' (a file) and 'text'.")
    _parse(request)
    _refuse_misplaced(request, frozenset(texts), file)
    fields = {name: _once(request.form.getlist(name)) for name in request.form}
    if any("\N{REPLACEMENT CHARACTER}" in text for pair in fields.items() for text in pair):
        raise BadRequest("A field is not valid UTF-8.")
    # Closing the stream frees its memory, up to ten megabytes; the request object lives until the answer ends.
    with _once(request.files.getlist(file)).stream as stream:
        content = stream.read()
    if not content:
        raise BadRequest(f"The file in '{file}' is empty.")
    return fields, content


def _parse(request: flask.Request) -> None:
    with disconnect.read_deadline(request.environ, BODY_SECONDS) as expired:
        try:
            _ = request.form
        except Exception as error:
            if isinstance(error, HTTPException) and not isinstance(error, ClientDisconnected):
                raise
            # The parser raises ValueError; what is raised for malformed chunks depends on the server.
            raise BadRequest(SLOW if expired.is_set() else BROKEN) from None
    if expired.is_set():
        # The body arrived just in time, but the socket was closed for reading, which would count as a disconnect.
        raise BadRequest(SLOW)


def _refuse_misplaced(request: flask.Request, texts: frozenset[str], file: str) -> None:
    if None in request.form or None in request.files:
        raise BadRequest("A part has no name.")
    if file in request.form:
        raise BadRequest(f"'{file}' must be a file: give the part a filename (curl: -F {file}=@sample.wav).")
    for name in request.files:
        if name in texts:
            raise BadRequest(f"'{name}' must be a plain field, not a file.")
        if name != file:
            raise BadRequest(f"Only one file is expected, in the part '{file}'.")
    if file not in request.files:
        raise BadRequest(f"The part '{file}' is missing.")


def _once(values: list[Any]) -> Any:
    if len(values) != 1:
        raise BadRequest("A part is repeated: each may be sent once.")
    return values[0]


def _drain_after(response: flask.Response) -> flask.Response:
    """Read the rest of the body after the answer has been sent.

    Many clients send their whole body before they read the answer. gunicorn reads only 64 kB of the rest before it
    closes the connection; that resets the connection, and the client loses the answer. Other servers read all of it.
    """
    environ = flask.request.environ
    has_body = environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ
    is_read = "form" in vars(flask.request)  # cached there once the whole body has been parsed

    def drain() -> None:
        remaining = DRAIN_BYTES
        # What is raised for a truncated body depends on the server.
        with disconnect.read_deadline(environ, DRAIN_SECONDS), contextlib.suppress(Exception):
            while remaining > 0 and (data := environ["wsgi.input"].read(min(65536, remaining))):
                remaining -= len(data)

    if has_body and not is_read and disconnect.client_socket(environ) is not None:
        response.call_on_close(drain)
    return response
