"""The library of stored voices: a folder with one file for each voice.

    FOLDER/voice_….safetensors     a voice that belongs to the owner named in its metadata
    FOLDER/shared/*.safetensors    voices that belong to everybody; the name of the file is the id

A path is never made of what a client sends: ids and names are compared with those of the files that are there.
"""

import contextlib
import logging
import os
import secrets
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from csm.errors import Conflict, NotAllowed, StorageFailed, UnknownVoice
from csm.settings import Settings, SettingsError
from csm.speech.voices import disk
from csm.speech.voices.api import PRIVATE_ID, VoiceInfo
from csm.speech.voices.file import SUFFIX, BrokenVoice, VoiceFile, read_info

log = logging.getLogger(__name__)

DEFAULT = Path(__file__).parents[2] / "assets" / "default.safetensors"
"""The voice `default`, which comes with the package."""

SHARED = "shared"

UNKNOWN = "There is no voice of this id: GET /v1/audio/voices lists those that there are."

_Stamp = tuple[int, int, int]


class VoiceLibrary:
    """Voices on disk. Thread-safe; another process may change the files meanwhile.

    Args:
        folder: of the voices, which exists; None for the package's voice alone.
        max_voices: number of voices that an owner may have.
        aliases: further names of voices.
    """

    def __init__(self, folder: Path | None, max_voices: int, aliases: Mapping[str, str]) -> None:
        self._folder, self._max_voices, self._aliases = folder, max_voices, aliases
        self._lock = threading.RLock()
        self._known: dict[Path, tuple[_Stamp, VoiceInfo | None]] = {}

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
        return cls(folder, settings.max_voices, settings.aliases)

    def sweep(self) -> None:
        """Remove what interrupted writes left behind, and report what is wrong with the configuration."""
        for folder in self._folders:
            disk.sweep(folder)
        if self._folder and not os.access(self._folder, os.W_OK):
            log.warning("CSM_VOICES_DIR is read-only: its voices can be used, but none can be stored or changed")
        shared = {word for _, info in self._voices().values() if info.owner is None for word in (info.id, info.name)}
        for name, target in self._aliases.items():
            if target not in shared:
                log.warning("CSM_VOICE_ALIASES: %s=%s, but there is no shared voice %s", name, target, target)

    def available(self, owner: str) -> list[VoiceInfo]:
        """Return the voices of an owner in order of creation, then the shared ones."""
        infos = [info for _, info in self._voices().values()]
        own = sorted((info for info in infos if info.owner == owner), key=lambda info: (info.created_at, info.id))
        return own + [info for info in infos if info.owner is None]

    def get(self, owner: str, voice_id: str) -> VoiceInfo:
        """Return the voice with this id.

        Raises:
            UnknownVoice: there is none that this owner can use.
        """
        return self._find(owner, voice_id)[1]

    def resolve(self, owner: str, word: str) -> VoiceInfo:
        """Return the voice with this id, name or alias.

        Raises:
            UnknownVoice: there is none that this owner can use.
        """
        available, word = self.available(owner), unicodedata.normalize("NFC", word)
        for wanted in (word, self._aliases.get(word)):
            by_id = [info for info in available if info.id == wanted]
            by_name = [info for info in available if info.name == wanted]
            for info in by_id + by_name:
                return info
        raise UnknownVoice("There is no voice of this id or name: GET /v1/audio/voices lists those that there are.")

    def read(self, owner: str, voice_id: str) -> VoiceFile:
        """Return the content of a voice's file.

        Raises:
            UnknownVoice: as `get`.
            StorageFailed: the file cannot be read.
        """
        path, info = self._find(owner, voice_id)
        try:
            return replace(VoiceFile.from_bytes(path.read_bytes(), info.id), info=info)
        except FileNotFoundError:
            raise UnknownVoice(UNKNOWN) from None
        except (OSError, BrokenVoice) as error:
            log.error("the voice %s cannot be read: %s", info.id, disk.reason(error))
            raise StorageFailed("The voice cannot be read: its file is damaged or not accessible.") from None

    def export(self, owner: str, voice_id: str) -> bytes:
        """Return the file of a voice, without its owner.

        Raises:
            UnknownVoice, StorageFailed: as `read`.
        """
        voice = self.read(owner, voice_id)
        return replace(voice, info=replace(voice.info, owner=None)).to_bytes()

    def check_room(self, owner: str, name: str) -> Path:
        """Check whether a voice of this name could be added; return the folder.

        Raises:
            NotAllowed: the server stores no voices.
            Conflict: the name is taken, or the owner has as many voices as are allowed.
        """
        if self._folder is None:
            raise NotAllowed("This server stores no voices: its operator can set CSM_VOICES_DIR to a folder for them.")
        if sum(info.owner == owner for info in self.available(owner)) >= self._max_voices:
            raise Conflict(f"There are {self._max_voices} voices, as many as CSM_MAX_VOICES allows: delete one first.")
        self._check_name(owner, name)
        return self._folder

    def add(self, voice: VoiceFile, owner: str) -> VoiceInfo:
        """Store a voice under a new id, and return it with that id.

        Raises:
            NotAllowed, Conflict: as `check_room`.
            StorageFailed: the file cannot be written.
        """
        with self._lock:
            folder = self.check_room(owner, voice.info.name)
            info = replace(voice.info, id=f"voice_{secrets.token_hex(16)}", owner=owner)
            _write(folder / (info.id + SUFFIX), replace(voice, info=info))
            return info

    def rename(self, owner: str, voice_id: str, name: str) -> VoiceInfo:
        """Give a voice another name.

        Raises:
            UnknownVoice, NotAllowed, Conflict, StorageFailed: see `Voices.rename`.
        """
        with self._lock:
            path, info = self._find_own(owner, voice_id)
            if name == info.name:
                return info
            self._check_name(owner, name)
            renamed = replace(info, name=name)
            _write(path, replace(self.read(owner, voice_id), info=renamed))
            return renamed

    def update(self, voice: VoiceFile) -> None:
        """Write further codes of a voice, if it is still there; the voice of the package is never changed.

        Raises:
            StorageFailed: the file cannot be written.
        """
        with self._lock:
            path, info = self._voices().get(voice.info.id, (DEFAULT, voice.info))
            if path != DEFAULT:
                _write(path, replace(voice, info=info))

    def delete(self, owner: str, voice_id: str) -> None:
        """Delete the file of a voice.

        Raises:
            UnknownVoice, NotAllowed, StorageFailed: see `Voices.delete`.
        """
        with self._lock:
            path, _ = self._find_own(owner, voice_id)
            try:
                disk.delete(path)
            except OSError as error:
                log.error("the voice %s cannot be deleted: %s", voice_id, disk.reason(error))
                raise StorageFailed(f"The voice cannot be deleted: {disk.explain(error)}.") from None

    def _find(self, owner: str, voice_id: str) -> tuple[Path, VoiceInfo]:
        path, info = self._voices().get(voice_id, (DEFAULT, None))
        if info is None or info.owner not in (owner, None):
            raise UnknownVoice(UNKNOWN)
        return path, info

    def _find_own(self, owner: str, voice_id: str) -> tuple[Path, VoiceInfo]:
        path, info = self._find(owner, voice_id)
        if info.owner is None:
            raise NotAllowed("This voice belongs to everybody: only the server's operator can change it.")
        return path, info

    def _check_name(self, owner: str, name: str) -> None:
        if name in self._aliases or any(name in (info.id, info.name) for info in self.available(owner)):
            raise Conflict("There is a voice of this name: choose another one.")

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self._folder, self._folder / SHARED) if self._folder else ()

    def _voices(self) -> dict[str, tuple[Path, VoiceInfo]]:
        """Return all voices by their ids; read the headers of the files that have changed."""
        with self._lock:
            self._known = {path: self._read(path, stamp) for path, stamp in self._scan()}
            voices: dict[str, tuple[Path, VoiceInfo]] = {}
            for path, (_, info) in self._known.items():
                if info is not None:
                    # A shared voice with the id `default` takes the place of the package's.
                    voices.setdefault(info.id, (path, info))
            return voices

    def _scan(self) -> Iterator[tuple[Path, _Stamp]]:
        for folder in self._folders:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.error("stored voices cannot be listed: %s", disk.reason(error))
                continue
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith(".") and entry.is_file():
                        yield Path(entry.path), _stamp(entry.stat())
        if DEFAULT.is_file():
            yield DEFAULT, _stamp(DEFAULT.stat())

    def _read(self, path: Path, stamp: _Stamp) -> tuple[_Stamp, VoiceInfo | None]:
        if path in self._known and self._known[path][0] == stamp:
            return self._known[path]
        try:
            info = read_info(path)
            if path.parent != self._folder:
                return stamp, replace(info, owner=None)
            if not info.owner or not PRIVATE_ID.fullmatch(info.id):
                raise BrokenVoice(f"it has no owner, or its name is not its id; for everybody, move it to {SHARED}/")
            return stamp, info
        except (OSError, BrokenVoice) as error:
            log.warning("a stored voice is left out (%s): %s", path.name, disk.reason(error))
            return stamp, None


def _write(path: Path, voice: VoiceFile) -> None:
    try:
        disk.write(path, voice.to_bytes())
    except OSError as error:
        log.error("a stored voice cannot be written: %s", disk.reason(error))
        raise StorageFailed(f"The voice cannot be stored: {disk.explain(error)}.") from None


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
