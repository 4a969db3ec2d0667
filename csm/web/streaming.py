"""A WAV that leaves while it is spoken, or all at once; either way the generation is always closed."""

import errno
import logging
from collections.abc import Iterator

from flask import Response

from csm import errors, log
from csm.audio import wav
from csm.speech import SAMPLE_RATE
from csm.web.access import Access
from csm.web.connection import Environ, reset_at_close

logger = logging.getLogger("csm.web")

BYTES_PER_SECOND = 2 * SAMPLE_RATE

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
    return Response(_Stream(first, chunks, entry, environ), mimetype="audio/wav", headers=HEADERS)


def whole(chunks: Iterator[bytes], entry: Access) -> Response:
    """An answer with exact sizes and a Content-Length, once all of it exists."""
    try:
        pcm = b"".join((_first(chunks), *chunks))
    finally:
        _close(chunks)
    entry.noted["audio"] = len(pcm) / BYTES_PER_SECOND
    return Response(wav.header(SAMPLE_RATE, len(pcm)) + pcm, mimetype="audio/wav", headers=HEADERS)


class _Stream:
    """The body of a chunked answer."""

    def __init__(self, first: bytes, rest: Iterator[bytes], entry: Access, environ: Environ) -> None:
        # Header and first chunk in one write, so that no reader sees a header without sound for long.
        self._waiting: bytes | None = wav.streaming_header(SAMPLE_RATE) + first
        self._sent = len(first)
        self._rest = rest
        self._entry = entry
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._waiting is not None:
            chunk, self._waiting = self._waiting, None
            return chunk
        try:
            chunk = next(self._rest)
        except StopIteration:
            self._entry.outcome = "ok"
            raise
        except Exception as error:
            raise self._cut(error) from None
        self._sent += len(chunk)
        return chunk

    def _cut(self, error: Exception) -> OSError:
        """Every server closes the connection on this error and sends no last chunk: the caller sees a torn answer."""
        if isinstance(error, errors.Cancelled):
            self._entry.outcome = "gone"
        else:
            self._entry.outcome = "cut"
            logger.error("stream cut: %s", log.anatomy(error), extra=log.fields(id=self._entry.id))
        reset_at_close(self._environ)
        return ConnectionResetError(errno.ECONNRESET, "the answer cannot be completed")

    def close(self) -> None:
        """Called by every server when it is done with the answer, however that came."""
        self._entry.outcome = self._entry.outcome or "gone"
        self._entry.noted["audio"] = self._sent / BYTES_PER_SECOND
        _close(self._rest)


def _first(chunks: Iterator[bytes]) -> bytes:
    try:
        return next(chunks)
    except StopIteration:
        raise errors.GenerationFailed("The model produced no audio; try again, or change the text.") from None


def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
