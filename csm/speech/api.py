"""What the HTTP layer sees of speech synthesis: plain data and one protocol; does not import torch."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from csm.engine.stats import EngineStats
from csm.errors import InvalidRequest
from csm.speech.admission import Reservation
from csm.speech.voices.api import ANONYMOUS, TranscriptSource, Voices

State = Literal["loading", "healthy", "draining", "unhealthy"]

SAMPLE_RATE = 24_000
"""Sample rate of all PCM, in Hz."""

MAX_EXAMINED_SECONDS = 60.0
"""Length of a recording in which a watermark is looked for; what follows is ignored."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How to speak.

    Attributes:
        owner: whose stored voices are meant, beside the shared ones.
        temperature: of sampling; 0 is greedy.
        top_k: number of most likely codes that each draw chooses from.
        seed: makes the result repeatable; None chooses a random one.
        max_seconds: maximum length of the audio; None for as much as the text needs.
        stream: whether to send the audio while it is generated; otherwise, any bad segment can be generated again.
        speed: of the audio, with the pitch kept; 2 halves the duration.
    """

    owner: str = ANONYMOUS
    temperature: float = 0.9
    top_k: int = 50
    seed: int | None = None
    max_seconds: float | None = None
    stream: bool = True
    speed: float = 1.0

    def delivery(self) -> "Delivery":
        """Return these fields alone; a subclass also has texts and files."""
        return Delivery(**{part.name: getattr(self, part.name) for part in fields(Delivery)})


@dataclass(frozen=True)
class VoiceSource:
    """Where a voice comes from: exactly one of `reference` and `voice` is given.

    Attributes:
        reference: the file of the reference audio, in any format that ffmpeg reads; or None for a stored voice.
        voice: id, name or alias of a stored voice; or None for reference audio.
        transcript: the words of the reference audio, or None when the client does not know them.
    """

    reference: bytes | None = None
    voice: str | None = None
    transcript: str | None = None


@dataclass(frozen=True)
class Utterance(Delivery):
    """One request to speak a text.

    Attributes:
        text: what to say, as the client wrote it.
        reference, voice, transcript: see `VoiceSource`.
    """

    text: str
    reference: bytes | None = None
    voice: str | None = None
    transcript: str | None = None


@dataclass(frozen=True)
class DialogueTurn:
    """One turn of a dialogue.

    Attributes:
        speaker: number of the speaker; see `Dialogue`.
        text: what is said: by the model, or in `audio`; in the latter case, None if the client does not know it.
        audio: the file of a turn that was heard; None if the turn is to be spoken.
    """

    speaker: int
    text: str | None
    audio: bytes | None = None


@dataclass(frozen=True)
class Dialogue(Delivery):
    """One request to speak turns of a dialogue, each with all turns before as context.

    Speakers are numbered from 0, in the order of their first turns. A speaker without an entry in `voices` speaks in
    the voice of their first turn that was heard, which must come before their first turn that is spoken.

    Attributes:
        turns: at least one of them is to be spoken.
        voices: those of the speakers, by number.

    Raises:
        InvalidRequest: nobody speaks, or somebody speaks who has no voice.
    """

    turns: Sequence[DialogueTurn]
    voices: Mapping[int, VoiceSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if all(turn.audio is not None for turn in self.turns):
            raise InvalidRequest("turns: nobody speaks; leave out the audio of the turns that are to be spoken")
        known = set(self.voices)
        for index, turn in enumerate(self.turns):
            if turn.audio is not None:
                known.add(turn.speaker)
            elif turn.speaker not in known:
                raise InvalidRequest(
                    f"turns[{index}]: its speaker (number {turn.speaker}, counted from 0) has no voice: add them to "
                    "'voices', or send audio in an earlier turn of theirs"
                )

    @classmethod
    def from_utterance(cls, utterance: Utterance) -> "Dialogue":
        """Return the dialogue of one turn and one voice that an utterance is."""
        voice = VoiceSource(utterance.reference, utterance.voice, utterance.transcript)
        return cls([DialogueTurn(0, utterance.text)], {0: voice}, **vars(utterance.delivery()))


@dataclass(frozen=True)
class Status:
    """What `/health` reports.

    Attributes:
        state: healthy only after a warm-up frame has been generated.
        model: the name of the checkpoint as configured.
        device: `cuda:0`, `cpu`, ..., or None while it is not known.
        reason: why the state is not healthy.
        running: number of generations in progress.
        waiting: number of requests admitted but not yet running.
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
    """What is known about the audio of one request, apart from its samples.

    Attributes:
        finish_reason: stop, length, silence or repeat (`csm.speech.endings`); None before the end.
        segments: number of segments of all texts.
        turn: index of the turn that the latest audio belongs to.
        retries: number of times that a segment ended badly and was generated again.
        language: ISO 639-1 code of the text's language; None before it is detected.
        transcript_source: where the transcript comes from: `given`, `recognized` or `none`; None before that is known.
        recognized: the words that were recognised in the reference audio of a request with one turn; None otherwise.
        reference_warnings: shortcomings of the reference audio, one line each (`csm.audio.report`).
        watermark: that the audio carries; None if it carries none.
    """

    finish_reason: str | None = None
    segments: int = 0
    turn: int = 0
    retries: int = 0
    language: str | None = None
    transcript_source: TranscriptSource | None = None
    recognized: str | None = None
    reference_warnings: list[str] = field(default_factory=list)
    watermark: Literal["perth"] | None = None


@dataclass(frozen=True)
class Detection:
    """Whether a recording carries a watermark.

    Attributes:
        marked: whether it does.
        confidence: from 0 to 1; the output of a network, not a probability.
        seconds: length of the audio that was examined, at most `MAX_EXAMINED_SECONDS`.
    """

    marked: bool
    confidence: float
    seconds: float


@dataclass(frozen=True)
class Examination:
    """What a recording is like as reference audio.

    Attributes:
        transcript: the words that were recognised; empty if there is no recogniser, or it is not certain enough.
        warnings: a line for each shortcoming, with a remedy (`csm.audio.report`).
        report: the measurements (`csm.audio.report.Report`).
    """

    transcript: str
    warnings: Sequence[str]
    report: Mapping[str, float | None]


class Speech(Iterator[bytes]):
    """Iterate over the audio of one request while it is generated: 16-bit little-endian mono PCM at `SAMPLE_RATE`.

    Args:
        chunks: generates the PCM.
        notes: filled in during the generation.
    """

    def __init__(self, chunks: Generator[bytes, None, None], notes: Notes) -> None:
        self._chunks, self.notes = chunks, notes

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Stop the generation."""
        self._chunks.close()


class Synthesizer(Protocol):
    """Turn texts and voices into audio. This is the only object that `csm.web` calls."""

    @property
    def voices(self) -> Voices:
        """The stored voices.

        Raises:
            NotReady: the model is being loaded.
        """

    def status(self) -> Status:
        """Return the current state without blocking or waiting for the model."""

    def stats(self) -> EngineStats | None:
        """Return the engine's statistics without waiting for the model; None before it is loaded, or without any."""

    def reserve(self) -> Reservation:
        """Reserve capacity for one request; cheap enough to be called before its body is read.

        Raises:
            Busy, NotReady: the request cannot be served now; try again after `retry_after` seconds.
        """

    def speak(
        self, request: Utterance | Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Speech:
        """Return the audio of an utterance, or of those turns of a dialogue that are to be spoken, one after the other.

        The first `next()` decodes the reference audio and waits for the first chunk, so it raises every error that has
        its own HTTP status.

        Args:
            request: what to say, and the voices to say it in.
            reservation: from `reserve`; released when the iterator ends or is closed, but not if it was never started.
                If the audio is not streamed, it is held until the whole audio has been sent.
            is_disconnected: polled at every frame; when it returns true, the generation stops with `Cancelled`.

        Raises:
            UndecodableAudio, UnusableReference, InvalidRequest, UnknownVoice: the request is invalid.
            GenerationFailed, DeadlineExceeded, DamagedVoice: the server failed.
            Cancelled: the client disconnected.
        """

    def detect_watermark(self, recording: bytes) -> Detection:
        """Return whether a recording carries the watermark, also if this server does not mark speech.

        Args:
            recording: a file in any format that ffmpeg reads.

        Raises:
            UndecodableAudio, UnusableReference: no mark can be looked for in this file.
            NotReady: the model is not loaded yet.
            ModelUnavailable: this server does not mark speech, and the watermark's weights are not installed.
        """

    def examine_reference(self, recording: bytes, is_disconnected: Callable[[], bool]) -> Examination:
        """Return what a recording is like as reference audio.

        Args:
            recording: a file in any format that ffmpeg reads.
            is_disconnected: polled while this waits.

        Raises:
            UndecodableAudio, UnusableReference: it cannot be used.
            DeadlineExceeded: the server is too busy to decode it.
            NotReady: the model is not loaded yet.
            Cancelled: the client disconnected.
        """

    def drain(self) -> None:
        """Accept no new requests; let the running ones finish."""

    def close(self) -> None:
        """Stop everything and release the device."""
