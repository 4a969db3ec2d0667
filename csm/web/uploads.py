"""Multipart bodies from strangers: bounded, in memory only, and refused unless complete and unambiguous."""

import io
import logging
from collections.abc import Iterable
from typing import IO, Any, TypeVar

import flask
from flask import Flask
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, UnsupportedMediaType
from werkzeug.formparser import FormDataParser
from werkzeug.wsgi import get_input_stream

from csm import log
from csm.settings import Settings
from csm.web.connection import CLOSE, Environ, Patience

logger = logging.getLogger("csm.web")

T = TypeVar("T")

MAX_PARTS = 32
BODY_SECONDS = 60.0
"""For the whole body to arrive; a proxy that buffers uploads makes this irrelevant."""

READ_BYTES = 256_000
"""Of a body at a time: a form with a mistake is refused only when so much of it has come."""

DRAIN_BYTES = 64_000_000
DRAIN_SECONDS = 5.0

BROKEN = (
    "The multipart body is malformed or ends before its final boundary; "
    "let your HTTP client build it, and do not set its Content-Type by hand."
)
NOT_UTF8 = "A field is not valid UTF-8."


class Pieces(io.BufferedIOBase):
    """A file in memory, written piece by piece and then read once; `BytesIO` may move what it holds as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        """Append."""
        self._pieces.append(bytes(piece))
        return len(piece)

    def seek(self, _offset: int, _whence: int = 0) -> int:
        """To the beginning, which werkzeug asks for when all is written."""
        return 0

    def read(self, _size: int | None = -1) -> bytes:
        """All of it, the first time."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole


class Request(flask.Request):
    """A request whose files stay in memory and whose form is complete or an error."""

    def _get_stream_for_parsing(self) -> IO[bytes]:
        """Werkzeug would read in small steps, and gunicorn copies what is left of its buffer at each."""
        return io.BufferedReader(super()._get_stream_for_parsing(), READ_BYTES)  # type: ignore[type-var]

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        """Werkzeug would write files over 500 kB to disk; a voice has no business there."""
        return Pieces()  # type: ignore[return-value]

    def make_form_data_parser(self) -> FormDataParser:
        """Werkzeug would take a body that breaks off for an empty form."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser


def install(app: Flask, settings: Settings) -> None:
    """Set the bounds of a body, and take in what remains of one when its request is answered."""
    app.request_class = Request
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = max(500_000, 16 * settings.max_text_chars)
    app.config["MAX_FORM_PARTS"] = MAX_PARTS
    app.before_request(_terminate)
    app.after_request(_drain_later)


def parts(request: flask.Request, texts: Iterable[str], file: str) -> tuple[dict[str, str], bytes]:
    """The text fields and the one file of a form; unknown fields are left to the caller.

    Raises:
        UnsupportedMediaType: not a multipart form.
        BadRequest: a part is missing, repeated, of the wrong kind or unparsable, or the body came too slowly.
        RequestEntityTooLarge: the body or the number of its parts is over the bounds.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the parts 'audio' (a file) and 'text'.")
    _parse(request)
    _refuse_misplaced(request, frozenset(texts), file)
    fields = {name: _once(request.form.getlist(name)) for name in request.form}
    if any("\N{REPLACEMENT CHARACTER}" in text for pair in fields.items() for text in pair):
        raise BadRequest(NOT_UTF8)
    upload = _once(request.files.getlist(file))
    # The request lives as long as its answer; a sample of ten megabytes need not.
    with upload.stream as stream:
        content = stream.read()
    if not content:
        raise BadRequest(f"The file in '{file}' is empty.")
    return fields, content


def _parse(request: flask.Request) -> None:
    with Patience.of(request.environ, BODY_SECONDS) as patience:
        try:
            _ = request.form
        except Exception as error:
            if isinstance(error, HTTPException) and not isinstance(error, ClientDisconnected):
                raise
            # The parser raises ValueError; servers raise what they like for chunks that are none.
            logger.debug("body refused: %s", log.anatomy(error))
            slow = f"The body did not arrive within {BODY_SECONDS:.0f} seconds."
            raise BadRequest(slow if patience.lost else BROKEN) from None


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


def _once(values: list[T]) -> T:
    if len(values) != 1:
        raise BadRequest("A part is repeated: each may be sent once.")
    return values[0]


def _terminate() -> None:
    """Make every server's input end where the body ends, so that it can be read to its end at any time."""
    environ = flask.request.environ
    if not environ.get("wsgi.input_terminated"):
        environ["wsgi.input"] = get_input_stream(environ)
        environ["wsgi.input_terminated"] = True


def _drain_later(response: flask.Response) -> flask.Response:
    """Many clients send all of their body before they look at the answer, and lose it if we hang up meanwhile."""
    environ = flask.request.environ
    is_read = "form" in vars(flask.request)  # kept there once the body has been parsed to its end
    if is_read or not (environ.get("CONTENT_LENGTH", "0") != "0" or environ.get("HTTP_TRANSFER_ENCODING")):
        return response
    if CLOSE in environ:
        environ[CLOSE]()
    else:
        response.call_on_close(lambda: _drain(environ))
    return response


def _drain(environ: Environ) -> None:
    remaining = DRAIN_BYTES
    try:
        with Patience.of(environ, DRAIN_SECONDS):
            while remaining > 0 and (data := environ["wsgi.input"].read(min(65536, remaining))):
                remaining -= len(data)
    except Exception:
        # Whatever a server raises for a body that breaks off; the answer has been given.
        return
