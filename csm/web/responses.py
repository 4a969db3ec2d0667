"""Send WAV audio while it is generated, or all at once; either way the generation is always closed."""

import contextlib
import errno
import itertools
import logging
import time
from collections.abc import Iterable, Iterator

from flask import Response

from csm import errors, log
from csm.audio import wav
from csm.speech import SAMPLE_RATE, Speech
from csm.web.access_log import Access
from csm.web.disconnect import Environ, limit_writes, reset_http_1_0

logger = logging.getLogger("csm.web")

BYTES_PER_SECOND = 2 * SAMPLE_RATE

WRITE_SECONDS = 15
"""Time in which a client must accept some data."""
SLACK_SECONDS = 30.0
"""How far a client may fall behind real-time playback: a slow client holds a thread and a slot."""
PIECE_BYTES = 16_384
"""Size of each write of an answer that is already complete."""

HEADERS = {
    "Content-Disposition": 'attachment; filename="voice-clone.wav"',
    "Cache-Control": "no-store",
    # Tells nginx not to buffer the answer.
    "X-Accel-Buffering": "no",
}


def streamed(speech: Speech, entry: Access, environ: Environ) -> Response:
    """Return an answer that is sent while the audio is generated.

    The first chunk is awaited here, for two reasons: an error before it can still be answered with its own status, and
    a generator that has been started is certain to run its clean-up when it is closed.
    """
    with contextlib.ExitStack() as on_error:
        on_error.callback(speech.close)
        first = _first(speech)
        on_error.pop_all()
    entry.noted["first_audio"] = entry.seconds
    # Header and first chunk go out in one write, so that no client waits for audio after it got the header.
    head = wav.streaming_header(SAMPLE_RATE) + first
    response = _respond(itertools.chain([head], speech), entry, environ, _headers(speech))
    response.call_on_close(speech.close)
    response.call_on_close(lambda: _note(speech, entry))
    return response


def whole(speech: Speech, entry: Access, environ: Environ) -> Response:
    """Return an answer with exact sizes and a Content-Length, once all audio is generated."""
    with contextlib.closing(speech):
        chunks = [_first(speech), *speech]
    _note(speech, entry)
    length = sum(map(len, chunks))
    pieces = (chunk[at : at + PIECE_BYTES] for chunk in chunks for at in range(0, len(chunk), PIECE_BYTES))
    # Let proxies buffer the answer, so that a slow client does not hold a thread.
    headers = _headers(speech) | {"Content-Length": str(wav.HEADER_BYTES + length), "X-Accel-Buffering": "yes"}
    return _respond(itertools.chain([wav.header(SAMPLE_RATE, length)], pieces), entry, environ, headers)


def _note(speech: Speech, entry: Access) -> None:
    """Log what was spoken and how it ended; there is no finish reason if the answer was cut off."""
    notes = speech.notes
    entry.noted.update(
        finish=notes.finish_reason, segments=notes.segments, retries=notes.retries, language=notes.language
    )


def _headers(speech: Speech) -> dict[str, str]:
    """Return the headers of an answer, with those notes that are known before its body is sent."""
    notes = speech.notes
    known = {
        "X-Finish-Reason": notes.finish_reason,
        "X-Transcript-Source": notes.transcript_source,
        # CSM reads any other language as if it were English; this warns the client.
        "X-Reference-Warnings": "; ".join(notes.reference_warnings) or None,
        "X-Text-Language": None if notes.language == "en" else notes.language,
    }
    return HEADERS | {name: value for name, value in known.items() if value is not None}


def _first(speech: Speech) -> bytes:
    try:
        return next(speech)
    except StopIteration:
        raise errors.GenerationFailed("The model produced no audio; try again, or change the text.") from None


def _respond(pieces: Iterable[bytes], entry: Access, environ: Environ, headers: dict[str, str]) -> Response:
    limit_writes(environ, WRITE_SECONDS)
    entry.outcome = "disconnected"  # unless the body ends by itself
    return Response(_body(pieces, entry, environ), mimetype="audio/wav", headers=headers)


def _body(pieces: Iterable[bytes], entry: Access, environ: Environ) -> Iterator[bytes]:
    """Yield the body of an answer; cut it off if generation fails or the client reads too slowly.

    Raises:
        ConnectionResetError: the body was cut off. Every server then closes the connection without a last chunk, so
            that the client sees an incomplete answer.
    """
    sent, writing = -wav.HEADER_BYTES, 0.0
    try:
        for piece in pieces:
            began = time.monotonic()
            yield piece
            writing += time.monotonic() - began
            sent += len(piece)
            entry.noted["audio"] = sent / BYTES_PER_SECOND
            if writing > SLACK_SECONDS + sent / BYTES_PER_SECOND:
                raise TimeoutError("the client reads more slowly than the audio plays")
        entry.outcome = "ok"
    except Exception as error:
        if isinstance(error, TimeoutError):
            entry.outcome = "slow"
        elif not isinstance(error, errors.Cancelled):
            entry.outcome = "cut"
            logger.error("stream cut: %s", log.redacted_traceback(error))
        reset_http_1_0(environ)
        raise ConnectionResetError(errno.ECONNRESET, "the answer cannot be completed") from None
