"""What the HTTP layer sees of speech: plain data and one protocol, free of torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["loading", "healthy", "draining", "unhealthy"]

SAMPLE_RATE = 24_000
"""Of every PCM chunk, in Hz."""


@dataclass(frozen=True)
class Utterance:
    """One request to speak.

    Attributes:
        text: what to say, as the caller wrote it.
        reference: the uploaded sample, any container that ffmpeg reads.
        transcript: the words of the sample, or None when the caller does not know them.
        temperature: 0 is greedy.
        top_k: codes considered at each draw.
        seed: makes the result repeatable; None draws a fresh one.
        max_seconds: upper bound on the audio produced.
    """

    text: str
    reference: bytes
    transcript: str | None = None
    temperature: float = 0.9
    top_k: int = 50
    seed: int | None = None
    max_seconds: float = 90.0


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


class Synthesizer(Protocol):
    """Text and a voice in, sound out. The only object that `csm.web` talks to."""

    def status(self) -> Status:
        """The present state; never blocks, never waits for the model."""

    def check(self, ahead: int = 0) -> None:
        """Say whether `speak` would refuse at once; cheap enough to ask before a request is even read.

        Args:
            ahead: others who are about to call it.

        Raises:
            Busy, NotReady: as `speak` does. It may still do so later: places are given to who comes first.
        """

    def speak(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Iterator[bytes]:
        """Yield PCM16 little-endian mono chunks at `SAMPLE_RATE` while they are generated.

        The first `next()` admits, decodes and waits for the first audio; so every error that has an HTTP
        status of its own is raised there. `close()` of the iterator stops the generation.

        Args:
            utterance: what to say, and the voice to say it in.
            cancelled: polled at every frame; once it is true the generation stops with `Cancelled`.

        Raises:
            Busy, NotReady: nothing was taken on; come back after `retry_after` seconds.
            UndecodableAudio, UnusableReference, InvalidRequest: the request is at fault.
            GenerationFailed, DeadlineExceeded: the server is.
        """

    def drain(self) -> None:
        """Take nothing new on; what runs may finish."""

    def close(self) -> None:
        """Stop everything and release the device."""
