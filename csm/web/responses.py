"""Send audio while it is generated, or all at once; either way generation and encoder are always closed."""

import contextlib
import errno
import itertools
import logging
import operator
import time
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.datastructures import MIMEAccept

from csm import errors, log
from csm.audio.continuity import SimulatedPlayer
from csm.audio.encoders import FORMATS, Encoder, Format, make_encoder
from csm.speech import SAMPLE_RATE, Speech
from csm.web import access_log
from csm.web.access_log import Access
from csm.web.disconnect import Environ, limit_writes, reset_http_1_0, write_deadline
from csm.web.event_stream import EventEncoder
from csm.web.parts import PartsEncoder

logger = logging.getLogger("csm.web")

BYTES_PER_SECOND = 2 * SAMPLE_RATE

WRITE_SECONDS = 15
"""Time in which a client must accept some data."""
SLACK_SECONDS = 30.0
"""How far a client may fall behind real-time playback: a slow client holds a thread and a slot."""
PIECE_BYTES = 16_384
"""Size of each write of speech that is already complete. Other answers of this size fit into the socket's buffer."""
ANSWER_SECONDS = 60.0
"""Time in which a client must have accepted an answer that is not speech: the longest, a voice, has 3 MB."""

Events = EventEncoder | PartsEncoder
"""Encoders of answers that consist of events, or of other lines with audio in base64."""

Piece = tuple[bytes, float]
"""Encoded audio, and how many seconds of audio it completes."""

TRANSCRIPT_BYTES = 2_000
"""Maximum length of a transcript in a header: nginx takes 4 KB for all headers together."""

HEADERS = {
    "Cache-Control": "no-store",
    # Tells nginx not to buffer the answer.
    "X-Accel-Buffering": "no",
}


def install(app: Flask) -> None:
    """Limit the time in which clients accept answers, whatever route they come from."""
    app.after_request(_limit)


def streamed(speech: Speech, fmt: Format, entry: Access, environ: Environ, events: Events | None = None) -> Response:
    """Return an answer that is sent while the audio is generated, or events with its audio.

    The first output is awaited here, for two reasons: an error before it can still be answered with its own status, and
    a generator that has been started is certain to run its clean-up when it is closed.
    """
    with contextlib.ExitStack() as resources:
        resources.callback(speech.close)
        encoder = events or make_encoder(fmt, SAMPLE_RATE)
        resources.callback(encoder.close)
        pieces = _encoded(speech, encoder)
        # Header and first audio go out in one write, so that no client waits for audio after it got the header.
        first = next(pieces)
        entry.noted["first_audio"] = entry.seconds
        entry.player = SimulatedPlayer()
        pieces = _played(itertools.chain([first], pieces), entry.player)
        response = _respond(pieces, fmt, entry, environ, _headers(speech), events)
        response.call_on_close(resources.pop_all().close)
    response.call_on_close(lambda: _note(speech, entry))
    return response


def whole(speech: Speech, fmt: Format, entry: Access, environ: Environ) -> Response:
    """Return an answer with a Content-Length, and with the exact length in its header where the format has one."""
    with contextlib.closing(speech), contextlib.closing(make_encoder(fmt, SAMPLE_RATE, streamed=False)) as encoder:
        encoded = list(_encoded(speech, encoder))
    _note(speech, entry)
    data = b"".join(piece for piece, _ in encoded)
    seconds_per_byte = sum(seconds for _, seconds in encoded) / len(data)
    pieces = (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
    # Let proxies buffer the answer, so that a slow client does not hold a thread.
    headers = _headers(speech) | {"Content-Length": str(len(data)), "X-Accel-Buffering": "yes"}
    return _respond(((piece, len(piece) * seconds_per_byte) for piece in pieces), fmt, entry, environ, headers)


def choose_format(name: str | None, accept: MIMEAccept, default: str = "wav") -> Format:
    """Return the format of an answer: the one that is named, else the one that `Accept` prefers, else the default.

    `Accept` counts only where it names the media type of a format; HTTP libraries and browsers send `*/*` and more.
    """
    if name is not None:
        return FORMATS[name]
    types = {media_type: fmt for fmt in FORMATS.values() for media_type in (fmt.media_type, *fmt.aliases)}
    accepted = [(quality, types.get(value.partition(";")[0].strip().lower())) for value, quality in accept]
    named = [(quality, fmt) for quality, fmt in accepted if fmt is not None and quality > 0]
    return max(named, key=operator.itemgetter(0))[1] if named else FORMATS[default]


def _limit(response: Response) -> Response:
    limit_writes(request.environ, WRITE_SECONDS)
    # Streams are the answers with speech, whose time depends on its length; see `_body`.
    if not response.is_streamed and (response.calculate_content_length() or 0) > PIECE_BYTES:
        entry = access_log.current()

        def expired() -> None:
            entry.outcome = "slow"

        response.call_on_close(write_deadline(request.environ, ANSWER_SECONDS, expired))
    return response


def _encoded(speech: Speech, encoder: Encoder) -> Iterator[Piece]:
    """Yield the encoded audio; after an error, the file is not finished.

    Raises:
        GenerationFailed: there is no audio.
    """
    seconds, is_empty = 0.0, True
    for pcm in speech:
        is_empty = False
        seconds += len(pcm) / BYTES_PER_SECOND
        if data := encoder.encode(pcm):
            yield data, seconds
            seconds = 0.0
    if is_empty:
        raise errors.GenerationFailed("The model produced no audio; try again, or change the text.")
    if data := encoder.finish():
        yield data, seconds


def _played(pieces: Iterable[Piece], player: SimulatedPlayer) -> Iterator[Piece]:
    """Pass audio on, and let a simulated player receive it."""
    for piece, seconds in pieces:
        player.receive(seconds)
        yield piece, seconds


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
        "X-Transcript": _quoted(notes.recognized or ""),
        "X-Watermark": notes.watermark,
        "X-Reference-Warnings": "; ".join(notes.reference_warnings) or None,
        # CSM reads any other language as if it were English; this warns the client.
        "X-Text-Language": None if notes.language == "en" else notes.language,
    }
    return HEADERS | {name: value for name, value in known.items() if value is not None}


def _quoted(words: str) -> str | None:
    """Return a text as a header can hold it, or None if it is empty or too long for the proxies' limits."""
    quoted = quote(words, safe=" !'(),-.:;?")
    return quoted if 0 < len(quoted) <= TRANSCRIPT_BYTES else None


def _respond(
    pieces: Iterable[Piece],
    fmt: Format,
    entry: Access,
    environ: Environ,
    headers: dict[str, str],
    events: Events | None = None,
) -> Response:
    entry.noted["format"] = fmt.name
    entry.outcome = "disconnected"  # unless the body ends by itself
    if events is not None:
        return Response(_body(pieces, entry, environ, events), mimetype=events.media_type, headers=headers)
    headers = {"Content-Disposition": f'attachment; filename="voice-clone{fmt.suffix}"'} | headers
    return Response(_body(pieces, entry, environ), mimetype=fmt.media_type, headers=headers)


def _body(pieces: Iterable[Piece], entry: Access, environ: Environ, events: Events | None = None) -> Iterator[bytes]:
    """Yield the body of an answer; cut it off if generation fails or the client reads too slowly.

    Events end with one that tells the error, before they are cut off.

    Raises:
        ConnectionResetError: the body was cut off. Every server then closes the connection without a last chunk, so
            that the client sees an incomplete answer.
    """
    sent = writing = 0.0
    try:
        for data, seconds in pieces:
            began = time.monotonic()
            yield data
            writing += time.monotonic() - began
            sent += seconds
            entry.noted["audio"] = sent
            if writing > SLACK_SECONDS + sent:
                raise TimeoutError("the client reads more slowly than the audio plays")
        entry.outcome = "ok"
    except Exception as error:
        if isinstance(error, TimeoutError):
            entry.outcome = "slow"
        elif not isinstance(error, errors.Cancelled):
            entry.outcome = "cut"
            logger.error("stream cut: %s", log.redacted_traceback(error))
            if events is not None:
                yield events.failure(error)
        reset_http_1_0(environ)
        raise ConnectionResetError(errno.ECONNRESET, "the answer cannot be completed") from None
