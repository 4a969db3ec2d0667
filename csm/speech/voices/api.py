"""What the HTTP layer sees of stored voices: plain data and one protocol; does not import torch."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from csm.errors import InvalidRequest

TranscriptSource = Literal["given", "recognized", "none"]

ANONYMOUS = "anonymous"
"""Owner of the voices on a server without keys."""

MAX_NAME_CHARS, MAX_CONSENT_CHARS, MAX_TRANSCRIPT_CHARS = 64, 500, 4000
MAX_RECORDINGS = 8

PRIVATE_ID = re.compile(r"voice_[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class VoiceInfo:
    """What is known about a stored voice, apart from its audio.

    Attributes:
        id: cannot be guessed, unless the voice is shared.
        name: unique among the voices of its owner.
        created_at: Unix time.
        owner: name of the key that it belongs to; None if it belongs to everybody.
        seconds: duration of its audio.
        transcript: the words of its audio; empty if they are not known.
        transcript_source: where the transcript comes from.
        consent: the statement that the speaker agrees.
        consented_at: Unix time of that statement.
        report: measurements and warnings; JSON types only.
    """

    id: str
    name: str
    created_at: int
    owner: str | None
    seconds: float
    transcript: str
    transcript_source: TranscriptSource
    consent: str
    consented_at: int
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VoiceDraft:
    """A voice to be made.

    Attributes:
        name: of the voice; see `clean_name`.
        recordings: files of one speaker, in any format that ffmpeg reads; they are joined.
        transcripts: the words of each recording, or one text for all of them, or none.
        consent: a statement that the speaker agrees.
    """

    name: str
    recordings: Sequence[bytes]
    transcripts: Sequence[str]
    consent: str


class Voices(Protocol):
    """The stored voices. An owner sees their own and the shared ones. Thread-safe."""

    def create(self, draft: VoiceDraft, owner: str, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """Make a voice and store it.

        Raises:
            NotAllowed: the server stores no voices.
            Conflict: the name is taken, or the owner has as many voices as are allowed.
            UndecodableAudio, UnusableReference, InvalidRequest: the recordings cannot be used.
            StorageFailed: the voice cannot be written.
            DeadlineExceeded, GenerationFailed, Cancelled: as `Synthesizer.speak`.
        """

    def add_file(self, content: bytes, owner: str, name: str | None, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """Store a voice from a file that `export` wrote, under its own name or another.

        Raises:
            InvalidRequest: this is no such file.
            NotAllowed, Conflict, UnusableReference, StorageFailed, GenerationFailed, Cancelled: as `create`.
        """

    def available(self, owner: str) -> list[VoiceInfo]:
        """Return the voices that an owner can use: their own in order of creation, then the shared ones."""

    def get(self, owner: str, voice_id: str) -> VoiceInfo:
        """Return a voice by its id.

        Raises:
            UnknownVoice: there is none with this id that this owner can use.
        """

    def rename(self, owner: str, voice_id: str, name: str) -> VoiceInfo:
        """Give a voice another name.

        Raises:
            UnknownVoice, NotAllowed, Conflict: it belongs to somebody else; it is shared; the name is taken.
            DamagedVoice, StorageFailed: the file cannot be read, or not be written.
        """

    def delete(self, owner: str, voice_id: str) -> None:
        """Delete a voice: its file with audio, transcript and codes, and what is cached of it.

        Raises:
            UnknownVoice, NotAllowed, StorageFailed: as `rename`.
        """

    def sample(self, owner: str, voice_id: str) -> bytes:
        """Return the audio of a voice as a WAV file.

        Raises:
            UnknownVoice: as `get`.
            DamagedVoice: its file cannot be read.
        """

    def export(self, owner: str, voice_id: str) -> bytes:
        """Return the file of a voice, for `add_file`.

        Raises:
            UnknownVoice, DamagedVoice: as `sample`.
        """


NAME_RULE = f"must have 1 to {MAX_NAME_CHARS} printable characters, no slash, and not look like an id"
CONSENT_RULE = (
    "must be a statement that the speaker of the recordings agrees, of at most "
    f"{MAX_CONSENT_CHARS} printable characters"
)


def clean_name(name: str) -> str:
    """Return the name of a voice in Unicode's normal form C.

    Raises:
        InvalidRequest: it breaks `NAME_RULE`.
    """
    name = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or "/" in name or PRIVATE_ID.fullmatch(name):
        raise InvalidRequest(f"The name {NAME_RULE}.")
    return name


def clean_consent(statement: str) -> str:
    """Return a consent statement on one line.

    Raises:
        InvalidRequest: it breaks `CONSENT_RULE`; one that says no counts as none.
    """
    statement = " ".join(unicodedata.normalize("NFC", statement).split())
    is_refusal = statement.lower() in ("", "false", "no", "off", "0")
    if is_refusal or len(statement) > MAX_CONSENT_CHARS or not statement.isprintable():
        raise InvalidRequest(f"The consent {CONSENT_RULE}.")
    return statement
