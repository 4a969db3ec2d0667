"""Transcribe reference audio: once for each recording, in a separate thread, with a time limit."""

import hashlib
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from time import monotonic

from csm import log
from csm.asr.api import Recognizer
from csm.asr.check import NONE
from csm.audio.waveform import Waveform
from csm.errors import Cancelled, ModelUnavailable
from csm.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Recognition:
    """The recognition of one recording, in the queue, in progress or done.

    Attributes:
        words: None if none are recognised.
        waiting: number of requests that wait for it.
    """

    words: "Future[str | None]" = field(default_factory=Future)
    waiting: int = 0


_Job = tuple[Waveform, _Recognition, Context] | None


class Transcriber:
    """Transcribe one recording at a time and cache the transcripts. Thread-safe.

    If anything fails, the request continues without a transcript, and the log says why. A recogniser that hangs cannot
    be stopped; until it returns, later requests do not wait for it.

    Args:
        load: returns the recogniser; called at the first use.
        max_seconds: time limit of one call of `transcribe`.
        retry_seconds: time after which a failed `load` is tried again.
        capacity: number of transcripts in the cache; the least recently used are removed.
    """

    def __init__(
        self,
        load: Callable[[], Recognizer],
        max_seconds: float = 20.0,
        retry_seconds: float = 300.0,
        capacity: int = 1000,
    ) -> None:
        self._load, self._max_seconds, self._retry_seconds, self._capacity = load, max_seconds, retry_seconds, capacity
        self._lock = threading.Lock()
        self._voices: OrderedDict[bytes, _Recognition] = OrderedDict()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._not_before = 0.0
        self._closed = False
        self._recognizer: Recognizer | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Transcriber | None":
        """Return the transcriber that `CSM_TRANSCRIBER` selects, or None for `none`."""
        model = settings.transcriber
        if model == NONE:
            return None

        def load() -> Recognizer:
            # Imports torch.
            from csm.asr.whisper import WhisperRecognizer

            return WhisperRecognizer(model)

        return cls(load)

    def transcribe(self, waveform: Waveform, is_disconnected: Callable[[], bool] = lambda: False) -> str | None:
        """Return the words of a recording, or None if none are recognised in time.

        Raises:
            Cancelled: `is_disconnected()` was true while this waited. Nothing else is raised.
        """
        key = _fingerprint(waveform)
        with self._lock:
            known = self._voices.get(key)
            if known is None:
                if reason := self._unavailable():
                    logger.warning("the reference audio is not transcribed: %s", reason)
                    return None
                known = self._start(key, waveform)
            self._voices.move_to_end(key)
            known.waiting += 1
        try:
            return self._wait(known, is_disconnected)
        finally:
            self._leave(key, known)

    def forget(self, waveform: Waveform) -> None:
        """Remove the words of a recording from the cache."""
        with self._lock:
            self._voices.pop(_fingerprint(waveform), None)

    def close(self) -> None:
        """Start no further recognition, and wait at most `max_seconds` for the current one.

        If Python exits during a recognition, the threads of CTranslate2 abort the process.
        """
        with self._lock:
            self._closed = True
            for known in self._voices.values():
                known.words.cancel()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(self._max_seconds)

    def _unavailable(self) -> str | None:
        if self._closed:
            return "the server is shutting down"
        if self._busy_since is not None and monotonic() > self._busy_since + self._max_seconds:
            return "the recogniser is still busy with an earlier one; if that lasts, restart the server"
        if monotonic() < self._not_before:
            return "the recogniser could not be loaded, as was logged; it is tried again later"
        return None

    def _wait(self, known: _Recognition, is_disconnected: Callable[[], bool]) -> str | None:
        deadline = monotonic() + self._max_seconds
        while (left := deadline - monotonic()) > 0:
            try:
                return known.words.result(min(left, 0.25))
            except CancelledError:
                return None
            except TimeoutError:
                if is_disconnected():
                    raise Cancelled("the client disconnected") from None
        logger.warning("the reference audio is not transcribed: the recogniser took over %g s", self._max_seconds)
        return None

    def _leave(self, key: bytes, known: _Recognition) -> None:
        """End a recognition that nobody waits for any more, unless it has begun: its result serves the next request."""
        with self._lock:
            known.waiting -= 1
            if not known.waiting and known.words.cancel() and self._voices.get(key) is known:
                del self._voices[key]

    def _start(self, key: bytes, waveform: Waveform) -> _Recognition:
        if self._thread is None:
            # A daemon thread, so that a recogniser that hangs does not keep the process from exiting.
            self._thread = threading.Thread(target=self._work, name="transcriber", daemon=True)
            self._thread.start()
        started = self._voices[key] = _Recognition()
        if len(self._voices) > self._capacity:
            self._voices.popitem(last=False)
        self._jobs.put((waveform, started, copy_context()))
        return started

    def _forget(self, recognition: _Recognition) -> None:
        with self._lock:
            for key in [key for key, known in self._voices.items() if known is recognition]:
                del self._voices[key]

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            waveform, recognition, context = job
            if not recognition.words.set_running_or_notify_cancel():
                continue
            self._busy_since = monotonic()
            # In the context of the request, so that lines that are logged have its id.
            words, is_final = context.run(self._recognize, waveform)
            self._busy_since = None
            if not is_final:
                self._forget(recognition)
            recognition.words.set_result(words)
            del job, waveform, recognition, context  # so that they are freed while the thread waits for the next job

    def _recognize(self, waveform: Waveform) -> tuple[str | None, bool]:
        """Return the words, and whether they are final; after a failure, the next request tries again."""
        if self._recognizer is None and monotonic() < self._not_before:
            return None, False
        try:
            if self._recognizer is None:
                self._recognizer = self._load()
            return self._recognizer.recognize(waveform), True
        except ModelUnavailable as error:
            self._not_before = monotonic() + self._retry_seconds
            logger.warning("the reference audio is not transcribed: %s", error)
        except Exception as error:
            logger.warning("the recogniser failed: %s", log.redacted_traceback(error))
        return None, False


def _fingerprint(waveform: Waveform) -> bytes:
    key = str(waveform.sample_rate).encode()
    return hashlib.blake2b(waveform.samples.tobytes(), digest_size=20, key=key).digest()
