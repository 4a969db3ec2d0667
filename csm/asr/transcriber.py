"""Transcribe reference audio: once for each recording, in a separate thread, with a time limit."""

import hashlib
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextvars import Context, copy_context
from time import monotonic

from csm import log
from csm.asr.api import Recognizer
from csm.asr.check import NONE
from csm.audio.waveform import Waveform
from csm.errors import ModelUnavailable
from csm.settings import Settings

logger = logging.getLogger(__name__)

_Job = tuple[Waveform, "Future[str | None]", Context] | None


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
        self._voices: OrderedDict[bytes, Future[str | None]] = OrderedDict()
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

    def transcribe(self, waveform: Waveform) -> str | None:
        """Return the words of a recording, or None if none are recognised in time; never raises."""
        key = hashlib.blake2b(waveform.samples.tobytes(), digest_size=20, key=str(waveform.sample_rate).encode())
        with self._lock:
            known = self._voices.get(key.digest())
            if known is None:
                if reason := self._unavailable():
                    logger.warning("the reference audio is not transcribed: %s", reason)
                    return None
                known = self._start(key.digest(), waveform)
            self._voices.move_to_end(key.digest())
        try:
            return known.result(self._max_seconds)
        except CancelledError:
            return None
        except TimeoutError:
            # A recognition that has begun continues: its result serves the next request.
            if known.cancel():
                self._forget(known)
            logger.warning("the reference audio is not transcribed: the recogniser took over %g s", self._max_seconds)
            return None

    def close(self) -> None:
        """Start no further recognition, and wait at most `max_seconds` for the current one.

        If Python exits during a recognition, the threads of CTranslate2 abort the process.
        """
        with self._lock:
            self._closed = True
            for known in self._voices.values():
                known.cancel()
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

    def _start(self, key: bytes, waveform: Waveform) -> "Future[str | None]":
        if self._thread is None:
            # A daemon thread, so that a recogniser that hangs does not keep the process from exiting.
            self._thread = threading.Thread(target=self._work, name="transcriber", daemon=True)
            self._thread.start()
        future: Future[str | None] = Future()
        self._voices[key] = future
        if len(self._voices) > self._capacity:
            self._voices.popitem(last=False)
        self._jobs.put((waveform, future, copy_context()))
        return future

    def _forget(self, future: "Future[str | None]") -> None:
        with self._lock:
            for key in [key for key, known in self._voices.items() if known is future]:
                del self._voices[key]

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            waveform, future, context = job
            if not future.set_running_or_notify_cancel():
                continue
            self._busy_since = monotonic()
            # In the context of the request, so that lines that are logged have its id.
            words, is_final = context.run(self._recognize, waveform)
            self._busy_since = None
            if not is_final:
                self._forget(future)
            future.set_result(words)
            del job, waveform, future, context  # so that they are freed while the thread waits for the next job

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
