"""A WAV that leaves while it is spoken, or all at once; either way the generation is always closed."""

import errno
import logging
import time
from collections.abc import Iterator

from flask import Response

from csm import errors, log
from csm.audio import wav
from csm.speech import SAMPLE_RATE
from csm.web.access import Access
from csm.web.connection import Environ, reset_at_close

logger = logging.getLogger("csm.web")

BYTES_PER_SECOND = 2 * SAMPLE_RATE

SLACK_SECONDS = 30.0
"""How far behind one who plays the sound as it comes a caller may fall: a slow reader holds a thread and a place."""
PIECE_BYTES = 16_384
"""Of an answer that exists already."""

HEADERS = {
    "Content-Disposition": 'attachment; filename="voice-clone.wav"',
    "Cache-Control": "no-store",
    # Tells nginx not to collect the answer before it passes it on.
    "X-Accel-Buffering": "no",
}


def chunked(chunks: Iterator[bytes], entry: Access, environ: Environ) -> Response:
    """An answer whose first bytes exist and whose end does not yet.

    The first chunk is drawn here: what goes wrong before it keeps a status of its own, and a generation that has
    begun is certain to be closed, which an iterator that was never started is not.
    """
    try:
        first = _first(chunks)
    except BaseException:
        _close(chunks)
        raise
    entry.noted["first_audio"] = entry.seconds
    # Header and first chunk in one write, so that no reader sees a header without sound for long.
    head = wav.streaming_header(SAMPLE_RATE) + first
    return Response(_Stream(head, chunks, entry, environ), mimetype="audio/wav", headers=HEADERS)


def whole(chunks: Iterator[bytes], entry: Access, environ: Environ) -> Response:
    """An answer with exact sizes and a Content-Length, once all of it exists."""
    try:
        pcm = b"".join((_first(chunks), *chunks))
    finally:
        _close(chunks)
    head, rest = wav.header(SAMPLE_RATE, len(pcm)), _pieces(pcm)
    headers = HEADERS | {"Content-Length": str(len(head) + len(pcm))}
    return Response(_Stream(head, rest, entry, environ), mimetype="audio/wav", headers=headers)


class _Stream:
    """The body of an answer, at the pace of a caller who is not too slow."""

    def __init__(self, head: bytes, rest: Iterator[bytes], entry: Access, environ: Environ) -> None:
        self._head: bytes | None = head
        self._rest = rest
        self._entry = entry
        self._environ = environ
        self._sent = -wav.HEADER_BYTES
        self._handed_over: float | None = None
        self._waited = 0.0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._refuse_crawling()
        chunk = self._next()
        self._sent += len(chunk)
        self._handed_over = time.monotonic()
        return chunk

    def _next(self) -> bytes:
        if self._head is not None:
            chunk, self._head = self._head, None
            return chunk
        try:
            return next(self._rest)
        except StopIteration:
            self._entry.outcome = "ok"
            raise
        except Exception as error:
            raise self._cut(error) from None

    def _refuse_crawling(self) -> None:
        """Between two chunks, time passes because the server writes the first of them, and the caller does not read."""
        if self._handed_over is not None:
            self._waited += time.monotonic() - self._handed_over
        if self._waited > SLACK_SECONDS + self._sent / BYTES_PER_SECOND:
            raise self._cut(TimeoutError("the caller reads more slowly than the sound plays"))

    def _cut(self, error: Exception) -> OSError:
        """Every server closes the connection on this error and sends no last chunk: the caller sees a torn answer."""
        if isinstance(error, errors.Cancelled):
            self._entry.outcome = "gone"
        elif isinstance(error, TimeoutError):
            self._entry.outcome = "slow"
        else:
            self._entry.outcome = "cut"
            logger.error("stream cut: %s", log.anatomy(error), extra=log.fields(id=self._entry.id))
        reset_at_close(self._environ)
        return ConnectionResetError(errno.ECONNRESET, "the answer cannot be completed")

    def close(self) -> None:
        """Called by every server when it is done with the answer, however that came."""
        self._entry.outcome = self._entry.outcome or "gone"
        self._entry.noted["audio"] = max(0, self._sent) / BYTES_PER_SECOND
        _close(self._rest)


def _pieces(pcm: bytes) -> Iterator[bytes]:
    return (pcm[start : start + PIECE_BYTES] for start in range(0, len(pcm), PIECE_BYTES))


def _first(chunks: Iterator[bytes]) -> bytes:
    try:
        return next(chunks)
    except StopIteration:
        raise errors.GenerationFailed("The model produced no audio; try again, or change the text.") from None


def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
