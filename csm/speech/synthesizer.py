"""Turn reference audio and text into PCM: everything between the HTTP layer and the engine."""

import secrets
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from csm.audio.encoders.pcm import pcm16
from csm.audio.report import warnings
from csm.audio.tempo import changed
from csm.engine.api import Engine
from csm.engine.prefix_cache import ConversationCache
from csm.engine.stats import EngineStats
from csm.errors import NotReady
from csm.settings import Settings
from csm.speech.admission import Admission, Reservation
from csm.speech.api import Notes, Speech, State, Status, Utterance
from csm.speech.frontend import TextFrontend
from csm.speech.history import History
from csm.speech.narration import Manner, Narration
from csm.speech.reference import ReferenceReader
from csm.speech.voice import ROLE, Voice, reference_turn
from csm.speech.voices.stored import StoredVoices

HISTORY_SECONDS = 45.0
"""Maximum audio of earlier segments of a text in the context of the next one: about three segments. The longer it is,
the more rarely keys and values are computed again, but the more memory they take, and the more time each frame."""


class CsmSynthesizer:
    """The synthesizer on top of an engine; see `csm.speech.api.Synthesizer`.

    Args:
        settings: of the server.
        engine: loaded and warmed up.
        details: shown in `/health`.

    Raises:
        SettingsError: a file or folder that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, engine: Engine, details: dict[str, object]) -> None:
        self._settings, self._engine, self._details = settings, engine, details
        self._admission = Admission(engine.info.slots, settings.queue)
        self._frontend = TextFrontend(settings)
        self._reader = ReferenceReader(settings)
        self.voices = StoredVoices(settings, engine, self._reader)
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

    def speak(self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool]) -> Speech:
        """See `Synthesizer.speak`."""
        notes = Notes()
        return Speech(self._speak(utterance, reservation, is_disconnected, notes), notes)

    def _speak(
        self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool], notes: Notes
    ) -> Generator[bytes, None, None]:
        started = time.monotonic()
        # An answer that is not streamed takes memory until it has been sent, so the HTTP layer holds the
        # reservation until then.
        with (
            reservation if utterance.stream else nullcontext(),
            self._voice(utterance, is_disconnected, notes) as voice,
        ):
            # The request may run for minutes, and the file is no longer needed: free its memory.
            utterance = replace(utterance, reference=None)
            script = self._frontend.prepare(utterance.text)
            notes.segments, notes.language = len(script.segments), script.language.code
            cache = ConversationCache() if len(script.segments) > 1 else None
            history = History([reference_turn(voice, ROLE)], HISTORY_SECONDS)
            narration = Narration(self._engine, history, self._manner(utterance), is_disconnected, cache)
            try:
                for samples in changed(narration.speak(script), utterance.speed):
                    yield pcm16(samples)
                notes.finish_reason = narration.finish_reason
            finally:
                notes.retries = narration.retries
                self._admission.observe(time.monotonic() - started)

    def drain(self) -> None:
        """See `Synthesizer.drain`."""
        self._draining = True

    def close(self) -> None:
        """See `Synthesizer.close`."""
        self._draining = True
        self._engine.close()
        self._reader.close()

    @contextmanager
    def _voice(self, utterance: Utterance, is_disconnected: Callable[[], bool], notes: Notes) -> Iterator[Voice]:
        """Provide the voice of an utterance, encoded."""
        if utterance.reference is None:
            with self.voices.lend(utterance.owner, utterance.voice or "", is_disconnected) as (info, voice):
                notes.transcript_source = info.transcript_source
                yield voice
            return
        reference = self._reader.read(utterance.reference, utterance.transcript, is_disconnected)
        del utterance  # with its file; see `_speak`
        notes.transcript_source, notes.reference_warnings = reference.transcript_source, warnings(reference.report)
        voice = Voice(reference.waveform, reference.transcript)
        # Once for all segments: with a small cache, each of them would be encoded again.
        yield replace(voice, codes=self._engine.encode(reference_turn(voice, ROLE), is_disconnected))

    def _manner(self, utterance: Utterance) -> Manner:
        return Manner(
            seed=secrets.randbits(63) if utterance.seed is None else utterance.seed,
            temperature=utterance.temperature,
            top_k=utterance.top_k,
            max_seconds=None if utterance.max_seconds is None else utterance.max_seconds * utterance.speed,
            max_segment_seconds=self._settings.max_audio_seconds,
            streamed=utterance.stream,
            speed=utterance.speed,
        )
