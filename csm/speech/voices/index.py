"""Which voices there are in a folder: the headers of its files, read again only where a file has changed.

    FOLDER/voice_….safetensors     a voice that belongs to the owner named in its metadata
    FOLDER/shared/*.safetensors    voices that belong to everybody; the name of the file is the id

A path is never made of what a client sends, except of an id of exactly 32 hexadecimal digits; other ids are compared
with the names of the files that are there.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from csm.speech.voices import disk
from csm.speech.voices.api import PRIVATE_ID, VoiceInfo
from csm.speech.voices.file import SUFFIX, BrokenVoice, read_info

log = logging.getLogger(__name__)

DEFAULT = Path(__file__).parents[2] / "assets" / "default.safetensors"
"""The voice `default`, which comes with the package."""

SHARED = "shared"

Entry = tuple[Path, VoiceInfo]
"""The file of a voice, and what its header says; the owner of a shared voice is None."""

_Stamp = tuple[int, int, int]
_Known = tuple[_Stamp, Entry | None]
"""When a file was last read, and its voice; None if it is broken. Kept by the file's path as text, because comparing
`Path` objects would take most of the time of a look-up."""


class VoiceIndex:
    """The voices in a folder. Thread-safe; other processes may change the files meanwhile.

    Args:
        folder: of the voices; None for the package's voice alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._known: dict[str, _Known] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders with files of voices, which may not exist."""
        return (self._folder, self._folder / SHARED) if self._folder else ()

    def find(self, voice_id: str) -> Entry | None:
        """Return a voice by its id, without listing the folders if the id is that of an owner's voice."""
        if not PRIVATE_ID.fullmatch(voice_id):
            return self.entries().get(voice_id)
        for folder in self.folders:
            path = f"{folder}{os.sep}{voice_id}{SUFFIX}"
            if not os.path.isfile(path):
                continue
            with contextlib.suppress(FileNotFoundError), self._lock:  # deleted meanwhile
                self._known[path] = self._read(path, _stamp(os.stat(path)))
                if (entry := self._known[path][1]) is not None:
                    return entry
        return None

    def missing(self, voice_ids: Collection[str]) -> set[str]:
        """Return those of these owners' voices that have no file any more."""
        present: set[str] = set()
        for folder in self.folders if voice_ids else ():
            with contextlib.suppress(FileNotFoundError):
                present.update(os.listdir(folder))
        return {voice_id for voice_id in voice_ids if f"{voice_id}{SUFFIX}" not in present}

    def entries(self) -> dict[str, Entry]:
        """Return all voices by their ids; read the headers of the files that have changed."""
        with self._lock:
            self._known = {path: self._read(path, stamp) for path, stamp in self._scan()}
            voices: dict[str, Entry] = {}
            for _, entry in self._known.values():
                if entry is not None:
                    # A shared voice with the id `default` takes the place of the package's.
                    voices.setdefault(entry[1].id, entry)
            return voices

    def _scan(self) -> Iterator[tuple[str, _Stamp]]:
        for folder in self.folders:
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
                        yield entry.path, _stamp(entry.stat())
        if DEFAULT.is_file():
            yield str(DEFAULT), _stamp(DEFAULT.stat())

    def _read(self, name: str, stamp: _Stamp) -> _Known:
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known
        path = Path(name)
        try:
            info = read_info(path)
            if path.parent != self._folder:
                return stamp, (path, replace(info, owner=None))
            if not info.owner or not PRIVATE_ID.fullmatch(info.id):
                raise BrokenVoice(f"it has no owner, or its name is not its id; for everybody, move it to {SHARED}/")
            return stamp, (path, info)
        except (OSError, BrokenVoice) as error:
            log.warning("a stored voice is left out (%s): %s", path.name, disk.reason(error))
            return stamp, None


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
