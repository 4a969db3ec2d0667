"""Read reference audio: decode and condition it, measure it, and find its words."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from csm.asr.transcriber import Transcriber
from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.audio.report import Report, examine
from csm.audio.waveform import Waveform
from csm.errors import Cancelled, DeadlineExceeded
from csm.settings import Settings
from csm.speech.text import clean
from csm.speech.voices.api import TranscriptSource

MAX_TURN_SECONDS = 60.0
"""Maximum length of a turn of a dialogue that was heard."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference audio that can be used.

    Attributes:
        waveform: conditioned (`csm.audio.condition`).
        transcript: cleaned; empty if it is not known.
        transcript_source: where the transcript comes from.
        report: measurements of the recording.
        decoded_seconds: of the recording, with what `waveform` leaves out; at most twice what may be kept.
    """

    waveform: Waveform
    transcript: str
    transcript_source: TranscriptSource
    report: Report
    decoded_seconds: float


class ReferenceReader:
    """Reads reference audio, for as many requests at once as there are processors. Thread-safe.

    Args:
        settings: of the server.
        transcriber: recognises words; by default, the one that the settings select.
        decoders: limits how many files are decoded at once; by default, one for each processor.
    """

    def __init__(
        self,
        settings: Settings,
        transcriber: Transcriber | None = None,
        decoders: threading.Semaphore | None = None,
    ) -> None:
        self._settings = settings
        self._transcriber = transcriber or Transcriber.from_settings(settings)
        self._decoders = decoders or threading.BoundedSemaphore(os.cpu_count() or 1)

    def read(
        self,
        content: bytes,
        transcript: str | None,
        is_disconnected: Callable[[], bool],
        *,
        is_reference: bool = True,
        keeps_words: bool = True,
        deadline: float | None = None,
    ) -> Reference:
        """Read one file.

        Args:
            content: of the file, in any format that ffmpeg reads.
            transcript: the words, or None to recognise them if a recogniser is configured.
            is_disconnected: polled while this waits.
            is_reference: see `condition`; other speech may have up to `MAX_TURN_SECONDS`.
            keeps_words: whether words that are recognised stay in the cache for the next request with this file.
            deadline: on the monotonic clock, until which decoding must begin; by default `CSM_DEADLINE_SECONDS` from
                the call.

        Raises:
            UndecodableAudio, UnusableReference: the file cannot be used.
            DeadlineExceeded: the server is too busy to decode it.
            Cancelled: the client disconnected.
        """
        max_seconds = self._settings.max_reference_seconds if is_reference else MAX_TURN_SECONDS
        if deadline is None:
            deadline = time.monotonic() + self._settings.deadline_seconds
        with self.decoding_slot(is_disconnected, deadline):
            # Decode more than is kept: silence at the start is removed, and the cut is made at a pause.
            recording = decode(content, max_seconds=2 * max_seconds)
            waveform = condition(recording, max_seconds, is_reference=is_reference)
            report = examine(recording, waveform)
        source: TranscriptSource = "given"
        words = clean(transcript or "")
        if not words and self._transcriber is not None:
            try:
                source, words = "recognized", clean(self._transcriber.transcribe(waveform, is_disconnected) or "")
            finally:
                if not keeps_words:
                    self._transcriber.forget(waveform)
        return Reference(waveform, words, source if words else "none", report, recording.seconds)

    def close(self) -> None:
        """Stop the recogniser."""
        if self._transcriber is not None:
            self._transcriber.close()

    @contextmanager
    def decoding_slot(self, is_disconnected: Callable[[], bool], deadline: float) -> Iterator[None]:
        """Wait for and hold one of a few slots for decoding, which limit the number of ffmpeg processes.

        Raises:
            Cancelled: the client disconnected.
            DeadlineExceeded: no slot became free in time.
        """
        while True:
            if time.monotonic() > deadline:
                raise DeadlineExceeded("the server is too busy to decode the recordings in time: try again later")
            if self._decoders.acquire(timeout=0.25):
                break
            if is_disconnected():
                raise Cancelled("the client disconnected")
        try:
            yield
        finally:
            self._decoders.release()
