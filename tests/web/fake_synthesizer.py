"""A synthesizer that does what the text of a request says, so that tests control one in another process."""

import json
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csm import errors
from csm.engine.stats import EngineStats
from csm.settings import load
from csm.speech import Detection, Dialogue, Examination, Notes, Speech, State, Status, Utterance
from csm.speech.admission import Admission, Reservation
from tests.web.fake_voices import FakeVoices

CHUNK = b"\x01\x02" * 960
"""40 ms of audio."""

ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CsmError) and kind is not errors.CsmError
}


@dataclass
class Script:
    """What one text asks for, such as `chunks=5 pace=0.1 fail=GenerationFailed after=2`.

    Attributes:
        chunks: number of chunks.
        pace: seconds before each chunk.
        fail: name of an error of `csm.errors`, or of Python, to raise after `after` chunks.
        restart: report a device that needs a fresh process.
        hold: index of a chunk that is said only once `release_file` exists; -1 for none.
        mark: byte that fills the chunks, to tell answers apart.
        finish: the reason of the end.
        warn: of the reference audio.
        retries: number of segments that were generated again.
        recognized: words in the reference audio, with _ for a space.
    """

    chunks: int = 3
    pace: float = 0.0
    fail: str = ""
    after: int = 0
    restart: bool = False
    hold: int = -1
    mark: int = 0
    finish: str = "stop"
    warn: str = ""
    retries: int = 0
    recognized: str = ""

    @classmethod
    def parse(cls, text: str) -> "Script":
        """Parse a text; ignore words that are no instruction."""
        script = cls()
        for word in text.split():
            name, sign, value = word.partition("=")
            if sign and hasattr(script, name):
                kind = type(getattr(script, name))
                setattr(script, name, kind(int(value)) if kind is bool else kind(value))
        return script

    def error(self) -> Exception:
        """Return the error that `fail` names."""
        kind = ERRORS.get(self.fail)
        if kind is None:
            return RuntimeError("an internal matter, with /a/path and CANARY text")
        return kind("a message for the client")

    def chunk(self) -> bytes:
        """Return one chunk of PCM."""
        return bytes([self.mark]) * len(CHUNK) if self.mark else CHUNK


@dataclass
class FakeSynthesizer:
    """Implements `csm.speech.Synthesizer` and writes what happens to `journal`.

    Attributes:
        capacity: requests served at once; more are `Busy`.
        path: file that the journal is written to as well, for tests in another process.
        voices: for its own routes, and to look up the voices of utterances.
    """

    capacity: int = 100
    path: Path | None = None
    state: State = "healthy"
    details: dict[str, Any] = field(default_factory=dict)
    spoken: list[Utterance] = field(default_factory=list)
    conversed: list[Dialogue] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    engine_stats: EngineStats | None = None
    voices: FakeVoices = field(default_factory=lambda: FakeVoices(load(None)))
    admission: Admission = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.admission = Admission(self.capacity, 0)

    def status(self) -> Status:
        """See `Synthesizer.status`."""
        reason = None if self.state == "healthy" else f"it is {self.state}"
        waiting = self.admission.reserved - self.running
        return Status(self.state, "fake", "cpu", reason, self.running, max(0, waiting), self.details)

    def stats(self) -> EngineStats | None:
        """See `Synthesizer.stats`."""
        return self.engine_stats

    def reserve(self) -> Reservation:
        """See `Synthesizer.reserve`."""
        if self.state != "healthy":
            raise errors.NotReady("not now", retry_after=7)
        return self.admission.reserve()

    def speak(
        self, request: Utterance | Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Speech:
        """See `Synthesizer.speak`."""
        if isinstance(request, Dialogue):
            notes = Notes(language="en", transcript_source="none")
            return Speech(self._converse(request, reservation, is_disconnected, notes), notes)
        notes = Notes(segments=1, language="de" if "Guten" in request.text else "en", transcript_source="none")
        return Speech(self._speak(request, reservation, is_disconnected, notes), notes)

    def _speak(
        self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool], notes: Notes
    ) -> Generator[bytes, None, None]:
        script = Script.parse(utterance.text)
        if script.warn:
            notes.reference_warnings = [f"{script.warn}: a sentence", "noisy: another"]
        notes.recognized = script.recognized.replace("_", " ") or None
        with reservation:
            if utterance.voice is not None:
                self.voices.library.open(utterance.owner, utterance.voice)
            with self.lock:
                self.running += 1
            self.spoken.append(utterance)
            self.note("begin", reference=len(utterance.reference or b""))
            said = 0
            try:
                for said in range(script.chunks):
                    if script.fail and said == script.after:
                        raise script.error()
                    self._pause(script.pace, said == script.hold, is_disconnected)
                    yield script.chunk()
                said = script.chunks
                notes.finish_reason, notes.retries = script.finish, script.retries
            finally:
                if script.restart:
                    self.details["restart"] = True
                with self.lock:
                    self.running -= 1
                self.note("end", said=said)

    def _converse(
        self, dialogue: Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool], notes: Notes
    ) -> Generator[bytes, None, None]:
        self.conversed.append(dialogue)
        with reservation:
            for index, turn in enumerate(dialogue.turns):
                if turn.audio is not None:
                    continue
                notes.turn = index
                script = Script.parse(turn.text or "")
                notes.segments += 1
                for said in range(script.chunks):
                    if script.fail and said == script.after:
                        raise script.error()
                    self._pause(script.pace, said == script.hold, is_disconnected)
                    yield script.chunk()
                notes.finish_reason = script.finish

    def detect_watermark(self, recording: bytes) -> Detection:
        """See `Synthesizer.detect_watermark`; the recording is a script too."""
        script = Script.parse(recording.decode(errors="replace"))
        self.note("detect")
        if script.fail:
            raise script.error()
        self._pause(script.pace, script.hold == 0, lambda: False)
        return Detection(script.mark > 0, script.mark / 255, 1.25)

    def examine_reference(self, recording: bytes, is_disconnected: Callable[[], bool]) -> Examination:
        """See `Synthesizer.examine_reference`; the recording is a script too."""
        script = Script.parse(recording.decode(errors="replace"))
        self.note("examine")
        if script.fail:
            raise script.error()
        self._pause(script.pace, script.hold == 0, is_disconnected)
        return Examination(script.recognized.replace("_", " "), [script.warn] if script.warn else [], {"seconds": 2.0})

    def drain(self) -> None:
        """See `Synthesizer.drain`."""
        self.state = "draining"
        self.note("drain")

    def close(self) -> None:
        """See `Synthesizer.close`."""
        self.note("close")

    def note(self, event: str, **more: Any) -> None:
        """Append an event to the journal."""
        entry = {"event": event, **more}
        self.journal.append(entry)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def events(self) -> list[str]:
        """Return the kinds of all events, oldest first."""
        return [entry["event"] for entry in self.journal]

    def _pause(self, seconds: float, is_held: bool, is_disconnected: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while True:
            if is_disconnected():
                self.note("disconnected")
                raise errors.Cancelled("the client disconnected")
            if time.monotonic() >= until and not (is_held and not self._is_released()):
                return
            time.sleep(0.01)

    def _is_released(self) -> bool:
        return self.path is not None and release_file(self.path).exists()


def release_file(journal: Path) -> Path:
    """Return the file whose existence lets generations with `hold` go on."""
    return journal.with_suffix(".released")
