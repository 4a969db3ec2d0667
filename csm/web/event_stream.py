"""OpenAI's server-sent events: audio in base64 while it is generated, then the usage, or an error."""

import base64
import json
from typing import Any, Literal

from typing_extensions import TypedDict

from csm.audio.encoders import Encoder
from csm.errors import CsmError
from csm.speech import SAMPLE_RATE
from csm.web import problems

MEDIA_TYPE = "text/event-stream"

BYTES_PER_FRAME = 2 * SAMPLE_RATE * 80 // 1000
"""A frame is what the model generates in one step."""


class Event(TypedDict):
    """One server-sent event.

    `data` is JSON with the member `type`, equal to `event`, and: `audio`, a piece of the file in base64; or `usage`,
    with `input_tokens` (characters of the text), `output_tokens` (frames of 80 ms) and `total_tokens`; or `error`, as
    in the answer to a request that fails before the audio begins.
    """

    event: Literal["speech.audio.delta", "speech.audio.done", "speech.audio.error"]
    data: str


class EventEncoder:
    """An encoder that puts the output of another one into events.

    Args:
        encoder: of the audio.
        characters: length of the text.

    Attributes:
        media_type: of the answer.
    """

    media_type = MEDIA_TYPE

    def __init__(self, encoder: Encoder, characters: int) -> None:
        self._encoder, self._characters, self._bytes = encoder, characters, 0

    def encode(self, pcm: bytes) -> bytes:
        """See `Encoder.encode`."""
        self._bytes += len(pcm)
        return _delta(self._encoder.encode(pcm))

    def finish(self) -> bytes:
        """Return the last audio and the usage: characters, which quotas count, and frames."""
        frames = round(self._bytes / BYTES_PER_FRAME)
        usage = {"input_tokens": self._characters, "output_tokens": frames, "total_tokens": self._characters + frames}
        return _delta(self._encoder.finish()) + _event("speech.audio.done", usage=usage)

    def close(self) -> None:
        """See `Encoder.close`."""
        self._encoder.close()

    def failure(self, error: Exception) -> bytes:
        """Return the last event of speech that cannot be completed."""
        if isinstance(error, CsmError):
            document = problems.openai_error(problems.status_of(error), str(error), code=problems.code_of(error))
        else:
            document = problems.openai_error(500, problems.UNFORESEEN)
        return _event("speech.audio.error", **document)


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def _delta(audio: bytes) -> bytes:
    return _event("speech.audio.delta", audio=base64.b64encode(audio).decode()) if audio else b""
