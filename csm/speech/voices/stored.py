"""Make stored voices of recordings, and voices for the model of stored ones; see `csm.speech.voices.api.Voices`."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csm.audio.condition import condition
from csm.audio.encoders.pcm import from_pcm16, pcm16
from csm.audio.encoders.wav import header
from csm.audio.report import SHORT_SECONDS, Report, examine, warnings
from csm.audio.waveform import Waveform
from csm.engine.api import Engine
from csm.errors import InvalidRequest, StorageFailed, UnusableReference
from csm.settings import Settings
from csm.speech.api import SAMPLE_RATE
from csm.speech.reference import Reference, ReferenceReader
from csm.speech.text import clean
from csm.speech.voice import ROLE, Voice, reference_turn
from csm.speech.voices.api import MAX_TRANSCRIPT_CHARS, TranscriptSource, VoiceDraft, VoiceInfo
from csm.speech.voices.file import MAX_CODECS, MAX_SECONDS, BrokenVoice, VoiceFile
from csm.speech.voices.library import VoiceLibrary

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.3
"""Silence between two recordings of a voice, in addition to that at their ends."""


class StoredVoices:
    """Stored voices of one server; see `Voices`.

    Args:
        settings: of the server.
        engine: encodes reference audio.
        reader: decodes recordings.

    Raises:
        SettingsError: the folder cannot be used.
    """

    def __init__(self, settings: Settings, engine: Engine, reader: ReferenceReader) -> None:
        self._settings, self._engine, self._reader = settings, engine, reader
        self._library = VoiceLibrary.from_settings(settings)
        self._library.sweep()
        self._library.warn()
        self._cached: dict[str, bytes] = {}
        """Fingerprints of the audio of owners' voices that may be in the engine's cache, by the ids of the voices."""

    def create(self, draft: VoiceDraft, owner: str, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """See `Voices.create`."""
        self._library.check_room(owner, draft.name)
        recording = self._read_recordings(draft, is_disconnected)
        return self._store(recording, draft.name, draft.consent, int(time.time()), owner, is_disconnected)

    def add_file(self, content: bytes, owner: str, name: str | None, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """See `Voices.add_file`. The codes in the file are not trusted, but made again."""
        try:
            found = VoiceFile.from_bytes(content, "")
        except BrokenVoice as error:
            raise InvalidRequest(f"The file cannot be imported: {error}. Send a file from …/export.") from None
        self._library.check_room(owner, name or found.info.name)
        waveform, transcript = _waveform(found.samples), clean(found.info.transcript)
        if waveform.seconds > (limit := self._settings.max_reference_seconds):
            raise UnusableReference(f"The voice is longer than {limit:g} s, which CSM_MAX_REFERENCE_SECONDS allows.")
        report = _report([examine(waveform, condition(waveform, MAX_SECONDS + 1))], waveform.seconds)
        source = found.info.transcript_source if transcript else "none"
        recording = _Recording(found.samples, transcript, source, report | {"imported": True})
        consented_at = min(found.info.consented_at, int(time.time()))
        return self._store(recording, name or found.info.name, found.info.consent, consented_at, owner, is_disconnected)

    def available(self, owner: str) -> list[VoiceInfo]:
        """See `Voices.available`."""
        return self._library.available(owner)

    def get(self, owner: str, voice_id: str) -> VoiceInfo:
        """See `Voices.get`."""
        return self._library.get(owner, voice_id)

    def rename(self, owner: str, voice_id: str, name: str) -> VoiceInfo:
        """See `Voices.rename`."""
        return self._library.rename(owner, voice_id, name)

    def delete(self, owner: str, voice_id: str) -> None:
        """See `Voices.delete`."""
        self._library.delete(owner, voice_id)
        self._forget_deleted()

    def sample(self, owner: str, voice_id: str) -> bytes:
        """See `Voices.sample`."""
        samples = self._library.read(owner, voice_id).samples.astype("<i2")
        return header(SAMPLE_RATE, samples.nbytes) + samples.tobytes()

    def export(self, owner: str, voice_id: str) -> bytes:
        """See `Voices.export`."""
        return self._library.export(owner, voice_id)

    @contextmanager
    def opened(
        self, owner: str, name_or_id: str, is_disconnected: Callable[[], bool]
    ) -> Iterator[tuple[VoiceInfo, Voice]]:
        """Provide the voice with this id, name or alias, encoded.

        It is encoded only if the file has no codes by this codec; the file then gets them. If the voice is deleted
        meanwhile, nothing of it stays in the cache.

        Raises:
            UnknownVoice: there is none that this owner can use.
            DamagedVoice: its file cannot be read.
            GenerationFailed, Cancelled: as `Engine.encode`.
        """
        self._forget_deleted()
        file = self._library.open(owner, name_or_id)
        voice = Voice(_waveform(file.samples), clean(file.info.transcript))
        try:
            yield file.info, replace(voice, codes=self._codes(file, voice, is_disconnected))
        finally:
            if file.info.owner is not None:
                self._cached[file.info.id] = voice.waveform.fingerprint
                self._forget_deleted()

    def _forget_deleted(self) -> None:
        """Remove from the engine's cache what was made of voices that are deleted, here or by another process."""
        for voice_id in self._library.missing(list(self._cached)):
            if (fingerprint := self._cached.pop(voice_id, None)) is not None:
                self._engine.forget(fingerprint)

    def _codes(self, file: VoiceFile, voice: Voice, is_disconnected: Callable[[], bool]) -> NDArray[np.int64]:
        codec = self._engine.info.codec
        if (known := file.codes.get(codec)) is not None:
            return known.astype(np.int64)
        codes = self._engine.encode(reference_turn(voice, ROLE), is_disconnected)
        kept = dict(list(file.codes.items())[: MAX_CODECS - 1])
        try:
            self._library.update(replace(file, codes=kept | {codec: codes.astype(np.int16)}))
        except StorageFailed:
            log.info("the codes of a stored voice are not kept")
        return codes

    def _read_recordings(self, draft: VoiceDraft, is_disconnected: Callable[[], bool]) -> "_Recording":
        """Read the recordings and join them, as long as they fit into the maximum length."""
        count, max_seconds = len(draft.recordings), self._settings.max_reference_seconds
        whole = clean(draft.transcripts[0]) or None if count > 1 == len(draft.transcripts) else None
        words = draft.transcripts if len(draft.transcripts) == count else [whole] * count
        kept: list[Reference] = []
        seconds = 0.0
        for content, transcript in zip(draft.recordings, words, strict=True):
            # The words are to be in the file of the voice only, and deleted with it.
            reference = self._reader.read(content, transcript, is_disconnected, keeps_words=False)
            added = reference.waveform.seconds + (PAUSE_SECONDS if kept else 0)
            if kept and (seconds + added > max_seconds or reference.report.dropped_seconds):
                break
            kept.append(reference)
            seconds += added
        left_out = count - len(kept)
        if left_out and whole is not None:
            raise UnusableReference(
                f"The recordings are longer than {max_seconds:g} s together: send fewer, or a transcript for each."
            )
        return _concatenate(kept, whole, left_out)

    def _store(
        self,
        recording: "_Recording",
        name: str,
        consent: str,
        consented_at: int,
        owner: str,
        is_disconnected: Callable[[], bool],
    ) -> VoiceInfo:
        if len(recording.transcript) > MAX_TRANSCRIPT_CHARS:
            raise InvalidRequest(f"The transcript must have at most {MAX_TRANSCRIPT_CHARS} characters.")
        voice = Voice(_waveform(recording.samples), recording.transcript)
        codes = self._engine.encode(reference_turn(voice, ROLE), is_disconnected)
        info = VoiceInfo(
            id="",
            name=name,
            created_at=int(time.time()),
            owner=owner,
            seconds=round(voice.waveform.seconds, 2),
            transcript=recording.transcript,
            transcript_source=recording.source,
            consent=consent,
            consented_at=consented_at,
            report=recording.report,
        )
        file = VoiceFile(info, recording.samples, {self._engine.info.codec: codes.astype(np.int16)})
        try:
            added = self._library.add(file, owner)
        except Exception:
            self._engine.forget(voice.waveform.fingerprint)
            raise
        self._cached[added.id] = voice.waveform.fingerprint
        return added


@dataclass(frozen=True, eq=False)
class _Recording:
    """The audio of a voice to be stored.

    Attributes:
        samples: `[samples]`, 16 bits.
        transcript: of all; empty if the words of one are not known.
        source: where the transcript comes from.
        report: see `VoiceInfo`.
    """

    samples: NDArray[np.int16]
    transcript: str
    source: TranscriptSource
    report: dict[str, Any]


def _concatenate(references: Sequence[Reference], whole: str | None, left_out: int) -> _Recording:
    """Join recordings with short pauses. A transcript with gaps would be worse than none, so it is all or nothing."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    parts = [part for reference in references for part in (pause, reference.waveform.samples)][1:]
    samples = np.frombuffer(pcm16(np.concatenate(parts)), "<i2").astype(np.int16)
    sources = {reference.transcript_source for reference in references}
    order: tuple[TranscriptSource, ...] = ("none", "recognized", "given")
    source = next(name for name in order if name in sources)
    words = [whole] if whole else [reference.transcript for reference in references]
    report = _report([reference.report for reference in references], len(samples) / SAMPLE_RATE)
    if left_out:
        report["warnings"].append(f"cut: the last {left_out} recordings are left out, since all together are too long.")
    return _Recording(samples, "" if source == "none" else " ".join(words), source, report)


def _report(reports: Sequence[Report], seconds: float) -> dict[str, Any]:
    lines = dict.fromkeys(line for report in reports for line in warnings(report))
    # Several short recordings may be long enough together.
    kept = [line for line in lines if seconds < SHORT_SECONDS or not line.startswith("short:")]
    return {"seconds": round(seconds, 2), "recordings": [asdict(report) for report in reports], "warnings": kept}


def _waveform(samples: NDArray[np.int16]) -> Waveform:
    return Waveform(from_pcm16(samples), SAMPLE_RATE)
