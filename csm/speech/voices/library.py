"""The library of stored voices: who owns them, what they are called, and how they change; one file for each."""

import contextlib
import logging
import os
import secrets
import threading
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from csm.errors import Conflict, DamagedVoice, NotAllowed, StorageFailed, UnknownVoice
from csm.settings import Settings, SettingsError
from csm.speech.voices import disk
from csm.speech.voices.api import PRIVATE_ID, VoiceInfo
from csm.speech.voices.file import SUFFIX, BrokenVoice, VoiceFile
from csm.speech.voices.index import DEFAULT, Entry, VoiceIndex

log = logging.getLogger(__name__)

UNKNOWN = "There is no voice of this id: GET /v1/audio/voices lists those that there are."
NO_FOLDER = "This server stores no voices: its operator can set CSM_VOICES_DIR to a folder for them."
NO_KEYS = "This server stores no voices, because it has no keys: anyone could hear and delete every voice."


class VoiceLibrary:
    """Voices on disk. Thread-safe; other processes may change the files meanwhile, and wait for each other.

    Args:
        folder: of the voices, which exists; None for the package's voice alone.
        max_voices: number of voices that an owner may have.
        aliases: further names of voices.
        refusal: why no voice can be added; None if voices can be added.
    """

    def __init__(
        self, folder: Path | None, max_voices: int, aliases: Mapping[str, str], refusal: str | None = None
    ) -> None:
        self._folder, self._max_voices, self._aliases = folder, max_voices, aliases
        self._refusal = refusal or (NO_FOLDER if folder is None else None)
        self._index, self._lock = VoiceIndex(folder), threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> "VoiceLibrary":
        """Open the library that the settings describe; create its folder if needed.

        Raises:
            SettingsError: the folder cannot be created or read.
        """
        folder = settings.voices_dir
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.listdir(folder)
            except OSError as error:
                raise SettingsError(f"CSM_VOICES_DIR cannot be used: {error.strerror}") from None
        return cls(folder, settings.max_voices, settings.aliases, NO_KEYS if settings.is_open_to_all else None)

    def sweep(self) -> None:
        """Remove what interrupted writes left behind, when no other process is writing."""
        if self._folder is None:
            return
        # A folder that cannot be written has nothing to remove.
        with contextlib.suppress(OSError), disk.locked(self._folder):
            for folder in self._index.folders:
                disk.sweep(folder)

    def warn(self) -> None:
        """Log what is wrong with the configuration, though not so wrong that the server cannot start."""
        if self._folder and not os.access(self._folder, os.W_OK):
            log.warning("CSM_VOICES_DIR is read-only: its voices can be used, but none can be stored or changed")
        infos = [info for _, info in self._index.entries().values() if info.owner is None]
        shared = {word for info in infos for word in (info.id, info.name)}
        for name, target in self._aliases.items():
            if target not in shared:
                log.warning("CSM_VOICE_ALIASES: %s=%s, but there is no shared voice %s", name, target, target)

    def owners(self) -> dict[str, int]:
        """Return how many voices each owner has."""
        return Counter(info.owner for _, info in self._index.entries().values() if info.owner is not None)

    def available(self, owner: str) -> list[VoiceInfo]:
        """Return the voices of an owner in order of creation, then the shared ones."""
        return [info for _, info in self._available(owner)]

    def get(self, owner: str, voice_id: str) -> VoiceInfo:
        """Return the voice with this id.

        Raises:
            UnknownVoice: there is none that this owner can use.
        """
        return self._find(owner, voice_id)[1]

    def missing(self, voice_ids: Collection[str]) -> set[str]:
        """Return those of these owners' voices that have no file any more."""
        return self._index.missing(voice_ids)

    def open(self, owner: str, name_or_id: str) -> VoiceFile:
        """Return the content of the file of the voice with this id, name or alias.

        Raises:
            UnknownVoice: there is none that this owner can use.
            DamagedVoice: the file cannot be read.
        """
        if PRIVATE_ID.fullmatch(name_or_id):
            return self.read(owner, name_or_id)
        name_or_id = unicodedata.normalize("NFC", name_or_id)
        available = self._available(owner)
        for wanted in (name_or_id, self._aliases.get(name_or_id)):
            by_id = [entry for entry in available if entry[1].id == wanted]
            by_name = [entry for entry in available if entry[1].name == wanted]
            for entry in by_id + by_name:
                return _content(*entry)
        raise UnknownVoice("There is no voice of this id or name: GET /v1/audio/voices lists those that there are.")

    def read(self, owner: str, voice_id: str) -> VoiceFile:
        """Return the content of the file of the voice with this id.

        Raises:
            UnknownVoice, DamagedVoice: as `open`.
        """
        return _content(*self._find(owner, voice_id))

    def export(self, owner: str, voice_id: str) -> bytes:
        """Return the file of a voice, without its owner.

        Raises:
            UnknownVoice, DamagedVoice: as `open`.
        """
        voice = self.read(owner, voice_id)
        return replace(voice, info=replace(voice.info, owner=None)).to_bytes()

    def check_room(self, owner: str, name: str) -> None:
        """Check whether a voice of this name could be added.

        Raises:
            NotAllowed: the server stores no voices.
            Conflict: the name is taken, or the owner has as many voices as are allowed.
        """
        if self._refusal is not None:
            raise NotAllowed(self._refusal)
        if sum(info.owner == owner for info in self.available(owner)) >= self._max_voices:
            raise Conflict(f"There are {self._max_voices} voices, as many as CSM_MAX_VOICES allows: delete one first.")
        self._check_name(owner, name)

    def add(self, voice: VoiceFile, owner: str) -> VoiceInfo:
        """Store a voice under a new id, and return it with that id.

        Raises:
            NotAllowed, Conflict: as `check_room`.
            StorageFailed: the file cannot be written.
        """
        with self._changing("stored"):
            self.check_room(owner, voice.info.name)
            folder = self._index.folders[0]
            info = replace(voice.info, id=f"voice_{secrets.token_hex(16)}", owner=owner)
            disk.write(folder / f"{info.id}{SUFFIX}", replace(voice, info=info).to_bytes())
            return info

    def rename(self, owner: str, voice_id: str, name: str) -> VoiceInfo:
        """Give a voice another name.

        Raises:
            UnknownVoice, NotAllowed, Conflict, DamagedVoice, StorageFailed: see `Voices.rename`.
        """
        with self._changing("stored"):
            path, info = self._find_own(owner, voice_id)
            if name == info.name:
                return info
            self._check_name(owner, name)
            return self._rewrite(path, replace(info, name=name))

    def give(self, owner: str, voice_id: str, new_owner: str) -> VoiceInfo:
        """Give a voice to another owner.

        Raises:
            UnknownVoice, NotAllowed, Conflict, DamagedVoice, StorageFailed: as `rename`.
        """
        with self._changing("stored"):
            path, info = self._find_own(owner, voice_id)
            self.check_room(new_owner, info.name)
            return self._rewrite(path, replace(info, owner=new_owner))

    def update(self, voice: VoiceFile) -> None:
        """Write further codes of a voice, if it is still there; the voice of the package is never changed.

        Raises:
            StorageFailed: the file cannot be written.
        """
        with self._changing("stored"):
            entry = self._index.find(voice.info.id)
            if entry is not None and entry[0] != DEFAULT:
                disk.write(entry[0], replace(voice, info=entry[1]).to_bytes())

    def delete(self, owner: str, voice_id: str) -> None:
        """Delete the file of a voice.

        Raises:
            UnknownVoice, NotAllowed, StorageFailed: see `Voices.delete`.
        """
        with self._changing("deleted"):
            disk.delete(self._find_own(owner, voice_id)[0])

    @contextlib.contextmanager
    def _changing(self, done: str) -> Iterator[None]:
        """Keep other threads and processes from changing anything, and report what the disk refuses."""
        try:
            with self._lock, disk.locked(self._folder) if self._folder else contextlib.nullcontext():
                yield
        except OSError as error:
            log.error("a voice cannot be %s: %s", done, disk.reason(error))
            raise StorageFailed(f"The voice cannot be {done}: {disk.explain(error)}.") from None

    def _rewrite(self, path: Path, info: VoiceInfo) -> VoiceInfo:
        disk.write(path, replace(_content(path, info), info=info).to_bytes())
        return info

    def _check_name(self, owner: str, name: str) -> None:
        if name in self._aliases or any(name in (info.id, info.name) for info in self.available(owner)):
            raise Conflict("There is a voice of this name: choose another one.")

    def _find(self, owner: str, voice_id: str) -> Entry:
        entry = self._index.find(voice_id)
        if entry is None or entry[1].owner not in (owner, None):
            raise UnknownVoice(UNKNOWN)
        return entry

    def _find_own(self, owner: str, voice_id: str) -> Entry:
        entry = self._find(owner, voice_id)
        if entry[1].owner is None:
            raise NotAllowed("This voice belongs to everybody: only the server's operator can change it.")
        return entry

    def _available(self, owner: str) -> list[Entry]:
        entries = list(self._index.entries().values())
        own = (entry for entry in entries if entry[1].owner == owner)
        shared = [entry for entry in entries if entry[1].owner is None]
        return sorted(own, key=lambda entry: (entry[1].created_at, entry[1].id)) + shared


def _content(path: Path, info: VoiceInfo) -> VoiceFile:
    try:
        return replace(VoiceFile.from_bytes(path.read_bytes(), info.id), info=info)
    except FileNotFoundError:
        raise UnknownVoice(UNKNOWN) from None
    except (OSError, BrokenVoice) as error:
        log.error("the voice %s cannot be read: %s", info.id, disk.reason(error))
        raise DamagedVoice("The voice cannot be read: its file is damaged or not accessible.") from None
