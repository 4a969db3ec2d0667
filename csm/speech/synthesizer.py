"""From reference audio and text to PCM: everything between the HTTP layer and the engine."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.audio.wav import pcm16
from csm.engine.api import Chunk, Engine, Sampling
from csm.errors import Cancelled, DeadlineExceeded, GenerationFailed, InvalidRequest, NotReady
from csm.model.conversation import Conversation
from csm.settings import Settings
from csm.speech.admission import Admission, Reservation
from csm.speech.api import State, Status, Utterance
from csm.speech.text import clean, longest_seconds
from csm.speech.voice import Voice, conversation

ATTEMPTS = 3
"""Times a generation that ends before its first frame is tried, each with another seed."""

log = logging.getLogger(__name__)


class CsmSynthesizer:
    """Text and a voice in, PCM out; see `csm.speech.api.Synthesizer`.

    Args:
        settings: limits.
        engine: loaded and warm.
        details: shown in `/health`.
    """

    def __init__(self, settings: Settings, engine: Engine, details: dict[str, object]) -> None:
        self._settings, self._engine, self._details = settings, engine, details
        self._admission = Admission(engine.info.slots, settings.queue)
        self._decoders = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._draining = False

    def status(self) -> Status:
        """See `Synthesizer.status`."""
        failure, running = self._engine.failure(), self._engine.running
        state: State = "unhealthy" if failure else "draining" if self._draining else "healthy"
        reason = failure or ("the server is shutting down" if self._draining else None)
        waiting = max(0, self._admission.reserved - running)
        # Only a new process gets a lost device back.
        details = self._details | ({"restart": True} if failure else {})
        return Status(state, self._settings.model, self._engine.info.device, reason, running, waiting, details)

    def reserve(self) -> Reservation:
        """See `Synthesizer.reserve`."""
        if (status := self.status()).state != "healthy":
            raise NotReady(f"the server is not ready: {status.reason}", retry_after=5)
        return self._admission.reserve()

    def speak(
        self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Generator[bytes, None, None]:
        """See `Synthesizer.speak`."""
        started = time.monotonic()
        with reservation:
            voice = self._voice(utterance, is_disconnected)
            # A reservation is held for minutes; nothing needs the upload any more.
            utterance = replace(utterance, reference=b"")
            text = clean(utterance.text)
            if not text:
                raise InvalidRequest("text: nothing is left to say once special tokens are removed")
            frames = self._max_frames(text, utterance.max_seconds)
            try:
                for chunk in self._chunks(conversation(voice, text), utterance, frames, is_disconnected):
                    yield pcm16(chunk.samples)
            finally:
                self._admission.observe(time.monotonic() - started)

    def drain(self) -> None:
        """See `Synthesizer.drain`."""
        self._draining = True

    def close(self) -> None:
        """See `Synthesizer.close`."""
        self._draining = True
        self._engine.close()

    def _voice(self, utterance: Utterance, is_disconnected: Callable[[], bool]) -> Voice:
        longest = self._settings.max_reference_seconds
        with self._turn(is_disconnected):
            # More is decoded than is kept: silence at the start must not use the sample up, and the cut needs a pause.
            waveform = condition(decode(utterance.reference, max_seconds=2 * longest), max_seconds=longest)
        return Voice(waveform, clean(utterance.transcript or ""))

    @contextmanager
    def _turn(self, is_disconnected: Callable[[], bool]) -> Iterator[None]:
        """Hold one of a few turns to decode: many uploads at once must not start as many ffmpeg processes."""
        deadline = time.monotonic() + self._settings.deadline_seconds
        while not self._decoders.acquire(timeout=0.25):
            if is_disconnected():
                raise Cancelled("the client disconnected")
            if time.monotonic() > deadline:
                raise DeadlineExceeded("too many samples wait to be decoded: try again later")
        try:
            yield
        finally:
            self._decoders.release()

    def _max_frames(self, text: str, max_seconds: float) -> int:
        seconds = min(max_seconds, self._settings.max_audio_seconds, longest_seconds(text))
        return max(1, round(seconds * self._engine.info.frame_rate))

    def _chunks(
        self, said: Conversation, utterance: Utterance, frames: int, is_disconnected: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yield the chunks of the first attempt that produces any audio."""
        seed = secrets.randbits(63) if utterance.seed is None else utterance.seed
        for attempt in range(ATTEMPTS):
            sampling = Sampling((seed + attempt) % 2**63, utterance.temperature, utterance.top_k)
            generation = self._engine.generate(said, sampling, frames, is_disconnected)
            try:
                first = next(generation, None)
                if first is not None:
                    yield from chain([first], generation)
                    return
            finally:
                _close(generation)
            log.warning("the model ended its turn before the first frame (attempt %d)", attempt + 1)
        raise GenerationFailed(
            "the model ended its turn before saying anything: rephrase the text, check the transcript, "
            "or try another sample"
        )


def _close(generation: Iterator[Chunk]) -> None:
    close = getattr(generation, "close", None)
    if close is not None:
        close()
