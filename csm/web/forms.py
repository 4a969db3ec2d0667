"""Read bodies of untrusted clients: in memory only, limited in size and time, refused if incomplete or ambiguous."""

import contextlib
import io
from collections.abc import Collection, Iterator, Set
from typing import IO, Any, TypeVar

import flask
from flask import Flask
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from csm.settings import Settings
from csm.web import disconnect, json_body
from csm.web.validation import Body

AnyBody = TypeVar("AnyBody", bound=Body)

BODY_SECONDS = 15.0
"""Time in which the whole body must arrive. A slower client needs a proxy that buffers the body first."""

DRAIN_BYTES, DRAIN_SECONDS = 64_000_000, 5.0

SLOW = f"The body did not arrive within {BODY_SECONDS:.0f} seconds."

REPEATED = "A part is repeated: each may be sent once."

BROKEN = (
    "The body is malformed or ends before its end or its final boundary; "
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


def read(request: flask.Request, body: type[AnyBody], settings: Settings) -> AnyBody:
    """Return the body of a request, sent as a multipart form.

    Raises:
        UnsupportedMediaType: the body is not a multipart form.
        BadRequest: a part is missing, repeated, of the wrong kind or malformed, or the body arrived too slowly.
        RequestEntityTooLarge: the body is too large or has too many parts.
        InvalidField: a field is unknown or out of range.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType(f"Send multipart/form-data; its parts are {', '.join(body.model_fields)}.")
    with _deadline(request):
        _ = request.form
    files, repeatable = body.files(), body.repeatable()
    _refuse_misplaced(request, body.model_fields.keys() - set(files), files, any_file=body.HAS_NAMED_FILES)
    if any("\N{REPLACEMENT CHARACTER}" in text for name, texts in request.form.lists() for text in (name, *texts)):
        raise BadRequest("A field is not valid UTF-8.")
    parts: dict[str, list[Any]] = dict(request.form.lists())
    for name, sent in request.files.lists():
        label = f"The file in '{name}'" if name in files else "A file"
        parts[name] = [_content(file, label) for file in sent]
    return body.from_form(
        {name: values if name in repeatable else _once(values) for name, values in parts.items()}, settings
    )


def read_json(request: flask.Request, body: type[AnyBody], settings: Settings) -> AnyBody:
    """Return the body of a request, sent as JSON.

    Raises:
        UnsupportedMediaType: the body is not JSON in UTF-8.
        BadRequest: the body is malformed or arrived too slowly.
        RequestEntityTooLarge: the body is too large.
        InvalidField: a field is unknown or out of range.
    """
    charset = request.mimetype_params.get("charset", "utf-8")
    if request.mimetype != "application/json" or charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send JSON in UTF-8, with the header 'Content-Type: application/json'.")
    with _deadline(request):
        data = request.get_data(cache=False)
    return body.from_json(json_body.parse(data), settings)


@contextlib.contextmanager
def _deadline(request: flask.Request) -> Iterator[None]:
    """Limit the time in which the body is read, and report whatever goes wrong with reading it."""
    with disconnect.read_deadline(request.environ, BODY_SECONDS) as expired:
        try:
            yield
        except Exception as error:
            if isinstance(error, HTTPException) and not isinstance(error, ClientDisconnected):
                raise
            # The parser raises ValueError; what is raised for malformed chunks depends on the server.
            raise BadRequest(SLOW if expired.is_set() else BROKEN) from None
    if expired.is_set():
        # The body arrived just in time, but the socket was closed for reading, which would count as a disconnect.
        raise BadRequest(SLOW)
    flask.g.is_body_read = True


def _refuse_misplaced(request: flask.Request, texts: Set[str], files: Collection[str], *, any_file: bool) -> None:
    if None in request.form or None in request.files:
        raise BadRequest("A part has no name.")
    for name in files:
        if name in request.form:
            raise BadRequest(f"'{name}' must be a file: give the part a filename (curl: -F {name}=@sample.wav).")
    for name in request.files:
        if name in texts:
            raise BadRequest(f"'{name}' must be a plain field, not a file.")
        if name not in files and not any_file:
            raise BadRequest(f"Files are expected only in the part {' and '.join(map(repr, files))}.")
        if name in request.form:
            raise BadRequest(REPEATED)


def _content(file: FileStorage, label: str) -> bytes:
    # Closing the stream frees its memory, up to ten megabytes; the request object lives until the answer ends.
    with file.stream as stream:
        content = stream.read()
    if not content:
        raise BadRequest(f"{label} is empty.")
    return content


def _once(values: list[Any]) -> Any:
    if len(values) != 1:
        raise BadRequest(REPEATED)
    return values[0]


def _drain_after(response: flask.Response) -> flask.Response:
    """Read the rest of the body after the answer has been sent.

    Many clients send their whole body before they read the answer. gunicorn reads only 64 kB of the rest before it
    closes the connection; that resets the connection, and the client loses the answer. Other servers read all of it.
    """
    environ = flask.request.environ
    has_body = environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ
    is_read = "is_body_read" in flask.g

    def drain() -> None:
        remaining = DRAIN_BYTES
        # What is raised for a truncated body depends on the server.
        with disconnect.read_deadline(environ, DRAIN_SECONDS), contextlib.suppress(Exception):
            while remaining > 0 and (data := environ["wsgi.input"].read(min(65536, remaining))):
                remaining -= len(data)

    if has_body and not is_read and disconnect.client_socket(environ) is not None:
        response.call_on_close(drain)
    return response
