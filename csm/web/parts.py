"""The answer of a conversation in parts: JSON lines that say which turn each piece of audio belongs to.

A client needs no library to read it: it splits at line breaks, parses each line, and decodes base64. Of the other
formats for several parts in one answer, multipart/mixed has no parser in browsers, and server-sent events have one only
for GET requests.
"""

import base64
import json
from typing import Any, NotRequired

from typing_extensions import TypedDict

from csm.audio.encoders import Encoder, Format, make_encoder
from csm.errors import CsmError
from csm.speech import SAMPLE_RATE, Notes
from csm.web import problems

MEDIA_TYPE = "application/x-ndjson"


class Line(TypedDict):
    """One line: a piece of the file of a turn, the end of that file, the end of the answer, or an error.

    The audio of a turn, decoded and joined, is a complete file. The last line has the finish reason, or an error if the
    answer could not be completed.
    """

    turn: NotRequired[int]
    audio: NotRequired[str]
    done: NotRequired[bool]
    finish_reason: NotRequired[str]
    error: NotRequired[str]


class PartsEncoder:
    """An encoder that makes a file of each turn, and lines of its pieces.

    Args:
        fmt: of the files.
        notes: of the speech; they tell the turn of each piece of audio.

    Attributes:
        media_type: of the answer.
    """

    media_type = MEDIA_TYPE

    def __init__(self, fmt: Format, notes: Notes) -> None:
        self._format, self._notes = fmt, notes
        self._turn = -1
        self._encoder: Encoder | None = None

    def encode(self, pcm: bytes) -> bytes:
        """See `Encoder.encode`."""
        before = b""
        if self._encoder is None or self._notes.turn != self._turn:
            before = self._end_turn()
            self._turn, self._encoder = self._notes.turn, make_encoder(self._format, SAMPLE_RATE)
        return before + self._audio(self._encoder.encode(pcm))

    def finish(self) -> bytes:
        """Return the last audio and the finish reason."""
        return self._end_turn() + _line(finish_reason=self._notes.finish_reason)

    def close(self) -> None:
        """See `Encoder.close`."""
        if self._encoder is not None:
            self._encoder.close()

    def failure(self, error: Exception) -> bytes:
        """Return the last line of speech that cannot be completed."""
        return _line(error=str(error) if isinstance(error, CsmError) else problems.UNFORESEEN)

    def _end_turn(self) -> bytes:
        if self._encoder is None:
            return b""
        rest = self._audio(self._encoder.finish())
        self._encoder.close()
        return rest + _line(turn=self._turn, done=True)

    def _audio(self, data: bytes) -> bytes:
        return _line(turn=self._turn, audio=base64.b64encode(data).decode()) if data else b""


def _line(**members: Any) -> bytes:
    return json.dumps(members).encode() + b"\n"
