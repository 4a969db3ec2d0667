"""Turn reference audio and text into PCM: everything between the HTTP layer and the engine."""

import functools
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict

from csm.audio.decode import decode
from csm.audio.encoders.pcm import pcm16
from csm.audio.report import warnings
from csm.audio.tempo import changed
from csm.audio.watermark.detect import THRESHOLD, detect
from csm.audio.watermark.marker import Marker
from csm.audio.watermark.perth import Perth
from csm.engine.api import Engine
from csm.engine.prefix_cache import ConversationPrefix
from csm.engine.stats import EngineStats
from csm.errors import NotReady
from csm.model.conversation import Turn
from csm.settings import Settings
from csm.speech.admission import Admission, Reservation
from csm.speech.api import (
    MAX_EXAMINED_SECONDS,
    Detection,
    Dialogue,
    Examination,
    Notes,
    Speech,
    State,
    Status,
    Utterance,
)
from csm.speech.dialogue import DialogueReader
from csm.speech.frontend import TextFrontend
from csm.speech.history import History
from csm.speech.narration import Narration
from csm.speech.reference import ReferenceReader
from csm.speech.voices.stored import StoredVoices

HISTORY_SECONDS = 45.0
"""Maximum audio of earlier segments of a text in the context of the next one: about three segments. The longer it is,
the more rarely keys and values are computed again, but the more memory they take, and the more time each frame. The
turns of a dialogue are dropped only when the model's context is full."""

DEMO_HISTORY_SECONDS = 5.0
"""The same for the embedded model, which has learnt from short conversations, and loses more words the longer they are
(docs/performance.md)."""


def history_seconds(settings: Settings) -> float:
    """Return the maximum audio of earlier segments of a text in the context of the next one."""
    return DEMO_HISTORY_SECONDS if settings.is_demo else HISTORY_SECONDS


class CsmSynthesizer:
    """The synthesizer on top of an engine; see `csm.speech.api.Synthesizer`.

    Args:
        settings: of the server.
        engine: loaded and warmed up.
        details: shown in `/health`.
        perth: marks the speech; None for speech without a mark.

    Raises:
        SettingsError: a file or folder that the settings name cannot be used.
    """

    def __init__(
        self, settings: Settings, engine: Engine, details: dict[str, object], perth: Perth | None = None
    ) -> None:
        self._settings, self._engine, self._details, self._perth = settings, engine, details, perth
        self._admission = Admission(engine.info.slots, settings.queue)
        self._frontend = TextFrontend(settings)
        self._reader = ReferenceReader(settings)
        self.voices = StoredVoices(settings, engine, self._reader)
        self._dialogue_reader = DialogueReader(
            engine, self._frontend, self._reader, self.voices, settings.deadline_seconds
        )
        # Where speech is not marked, the mark can still be looked for.
        self._unused_perth = functools.cache(Perth.load)
        self._draining = False

    def status(self) -> Status:
        """See `Synthesizer.status`."""
        failure, running = self._engine.failure(), self._engine.running
        state: State = "unhealthy" if failure else "draining" if self._draining else "healthy"
        reason = failure or ("the server is shutting down" if self._draining else None)
        waiting = max(0, self._admission.reserved - running)
        # A lost device can be used again only by a new process.
        details = self._details | ({"restart": True} if failure else {})
        return Status(state, self._settings.model, self._engine.info.device, reason, running, waiting, details)

    def stats(self) -> EngineStats | None:
        """See `Synthesizer.stats`."""
        return self._engine.stats()

    def reserve(self) -> Reservation:
        """See `Synthesizer.reserve`."""
        if (status := self.status()).state != "healthy":
            raise NotReady(f"the server is not ready: {status.reason}", retry_after=5)
        return self._admission.reserve()

    def speak(
        self, request: Utterance | Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Speech:
        """See `Synthesizer.speak`."""
        dialogue = Dialogue.from_utterance(request) if isinstance(request, Utterance) else request
        notes = Notes(watermark=None if self._perth is None else "perth")
        return Speech(self._generate(dialogue, reservation, is_disconnected, notes), notes)

    def _generate(
        self, dialogue: Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool], notes: Notes
    ) -> Generator[bytes, None, None]:
        started = time.monotonic()
        # An answer that is not streamed takes memory until it has been sent, so the HTTP layer holds the
        # reservation until then.
        with reservation if dialogue.stream else nullcontext(), ExitStack() as resources:
            prepared = self._dialogue_reader.read(dialogue, is_disconnected, notes, resources)
            delivery = dialogue.delivery()
            # The request may run for minutes, and the files are no longer needed: free their memory.
            del dialogue
            history = History(
                prepared.context, history_seconds(self._settings) if len(prepared.turns) == 1 else float("inf")
            )
            cache = ConversationPrefix() if notes.segments > 1 else None
            narration = Narration(
                self._engine, history, delivery, self._settings.max_audio_seconds, is_disconnected, cache
            )
            marker = None if self._perth is None else Marker(self._perth)
            try:
                for index, turn in prepared.turns.items():
                    if isinstance(turn, Turn):
                        narration.add_context(turn)
                        continue
                    notes.turn = index
                    for samples in changed(narration.speak(turn.script, turn.role), delivery.speed):
                        yield pcm16(samples if marker is None else marker.process(samples))
                    if narration.is_over:
                        break
                notes.finish_reason = narration.finish_reason
            finally:
                notes.retries = narration.retries
                self._admission.observe(time.monotonic() - started)

    def detect_watermark(self, recording: bytes) -> Detection:
        """See `Synthesizer.detect_watermark`."""
        with self._reader.decoding_slot(lambda: False, time.monotonic() + self._settings.deadline_seconds):
            waveform = decode(recording, MAX_EXAMINED_SECONDS)
        confidence = detect(waveform, self._perth or self._unused_perth())
        return Detection(confidence >= THRESHOLD, confidence, waveform.seconds)

    def examine_reference(self, recording: bytes, is_disconnected: Callable[[], bool]) -> Examination:
        """See `Synthesizer.examine_reference`."""
        found = self._reader.read(recording, None, is_disconnected)
        return Examination(found.transcript, warnings(found.report), asdict(found.report))

    def drain(self) -> None:
        """See `Synthesizer.drain`."""
        self._draining = True

    def close(self) -> None:
        """See `Synthesizer.close`."""
        self._draining = True
        self._engine.close()
        self._reader.close()
