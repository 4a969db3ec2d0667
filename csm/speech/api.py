"""The interface of speech for the HTTP layer: plain data and one protocol, without torch."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from csm.speech.admission import Reservation

State = Literal["loading", "healthy", "draining", "unhealthy"]

SAMPLE_RATE = 24_000
"""Of every PCM chunk, in Hz."""


@dataclass(frozen=True)
class Utterance:
    """One request to speak.

    Attributes:
        text: what to say, as the client wrote it.
        reference: the reference audio as it was sent, in any container that ffmpeg reads.
        transcript: the words of the reference audio, or None when the client does not know them.
        temperature: 0 is greedy.
        top_k: codes considered at each draw.
        seed: makes the result repeatable; None draws a fresh one.
        max_seconds: of audio; None for as much as the text needs.
        stream: whether the audio is sent while it is generated; else bad segments can all be made again.
        speed: of the audio, with the pitch kept; 2 halves its length.
    """

    text: str
    reference: bytes
    transcript: str | None = None
    temperature: float = 0.9
    top_k: int = 50
    seed: int | None = None
    max_seconds: float | None = None
    stream: bool = True
    speed: float = 1.0


@dataclass(frozen=True)
class Status:
    """What `/health` reports.

    Attributes:
        state: healthy only after a warm-up frame has been generated.
        model: the name of the checkpoint as configured.
        device: `cuda:0`, `cpu`, ... or None while it is not known.
        reason: why the state is not healthy.
        running: generations in progress.
        waiting: requests admitted but not yet running.
        details: engine, precision, slots, whether the model is the demo, ...; JSON types only.
    """

    state: State
    model: str
    device: str | None = None
    reason: str | None = None
    running: int = 0
    waiting: int = 0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Notes:
    """What is known about the audio of one request besides its samples.

    Attributes:
        finish_reason: stop, length, silence or repeat (`csm.speech.endings`); None before the end.
        segments: that the text was divided into.
        retries: segments that ended badly and were made again.
        language: of the text, an ISO 639-1 code, or None before it was read.
        transcript_source: of the words of the reference audio: `given`, `recognized` or `none`; None before that.
        reference_warnings: what should be better about the reference audio, a line each (`csm.audio.report`).
    """

    finish_reason: str | None = None
    segments: int = 0
    retries: int = 0
    language: str | None = None
    transcript_source: Literal["given", "recognized", "none"] | None = None
    reference_warnings: list[str] = field(default_factory=list)


class Speech(Iterator[bytes]):
    """The audio of one request while it is generated: PCM16 little-endian mono chunks at `SAMPLE_RATE`.

    Args:
        chunks: that are generated.
        notes: filled in meanwhile.
    """

    def __init__(self, chunks: Generator[bytes, None, None], notes: Notes) -> None:
        self._chunks, self.notes = chunks, notes

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Stop the generation."""
        self._chunks.close()


class Synthesizer(Protocol):
    """Text and a voice in, audio out. The only object that `csm.web` calls."""

    def status(self) -> Status:
        """Return the current state without blocking or waiting for the model."""

    def reserve(self) -> Reservation:
        """Reserve capacity for one request; cheap enough to be asked before its body is read.

        Raises:
            Busy, NotReady: the request cannot be served; come back after `retry_after` seconds.
        """

    def speak(self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool]) -> Speech:
        """Return the audio of an utterance.

        The first `next()` decodes the reference audio and waits for the first chunk, so every error that has an
        HTTP status of its own is raised there.

        Args:
            utterance: what to say, and the voice to say it in.
            reservation: from `reserve`; released when the iterator ends or is closed, unless it was never started or
                the utterance is not streamed: then it is held until the whole audio has been sent.
            is_disconnected: polled at every frame; once it is true the generation stops with `Cancelled`.

        Raises:
            UndecodableAudio, UnusableReference, InvalidRequest: the request is at fault.
            GenerationFailed, DeadlineExceeded: the server is.
        """

    def drain(self) -> None:
        """Accept no new requests; let running ones finish."""

    def close(self) -> None:
        """Stop everything and release the device."""
