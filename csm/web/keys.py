"""API keys, stored as SHA-256 digests, with a name and an expiry date each.

API keys are long and random, so a fast hash is enough; a slow one would only make denial of service easier.
`printf %s "$KEY" | sha256sum` prints the digest for a line of the keys file.
"""

import hashlib
import hmac
import logging
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from csm.settings import Settings, SettingsError
from csm.speech.voices.api import ANONYMOUS

logger = logging.getLogger("csm.web")

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<digest>[0-9a-fA-F]{64})(?::(?P<expiry>.*))?", re.ASCII)
_RESERVED = re.compile(rf"{ANONYMOUS}|key-\d+", re.ASCII)
"""Names that clients have without a key of the file, whose voices and quotas must not become those of a key."""


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: for logs and quotas; keys of one name share a quota, so that a key can be replaced.
        digest: SHA-256 of the key.
        expires: Unix time from which the key is refused, or None.
        is_named: whether the name is the operator's choice; otherwise it is the number of the key in a list.
    """

    name: str
    digest: bytes
    expires: float | None = None
    is_named: bool = True

    @property
    def owner(self) -> str:
        """Who owns the voices that are stored with this key: its name, so that the key can be replaced.

        The numbers of keys change with their list, so these are told apart by their digests. No name has a colon.
        """
        return self.name if self.is_named else f"sha256:{self.digest.hex()}"

    @classmethod
    def parse(cls, line: str) -> "Key":
        """Return a key from `name:sha256:expiry`; the expiry, if any, is an ISO date or time, by default in UTC.

        Raises:
            ValueError: the line has another format.
        """
        match = _LINE.fullmatch(line.strip())
        if match is None or _RESERVED.fullmatch(match["name"]):
            raise ValueError("not name:sha256:expiry")
        expires = None
        if expiry := (match["expiry"] or "").strip():
            moment = datetime.fromisoformat(expiry)
            expires = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return cls(match["name"], bytes.fromhex(match["digest"]), expires)


class Keyring:
    """The keys in the settings and in the keys file, which is read again when it changes.

    Args:
        fixed: keys that do not change while the server runs.
        path: a file of `name:sha256:expiry` lines, or None.

    Raises:
        SettingsError: the file cannot be read, or a line of it is wrong.
    """

    def __init__(self, fixed: Iterable[Key] = (), path: Path | None = None) -> None:
        self._fixed, self._path, self._lock = tuple(fixed), path, threading.Lock()
        self._stamp, self._from_file = (_stamp(path), tuple(_read(path, strict=True))) if path else (None, ())

    @classmethod
    def from_settings(cls, settings: Settings) -> "Keyring":
        """Return the keyring that the settings describe; plain keys are named key-1, key-2, ..."""
        plain = (key.get_secret_value().encode() for key in settings.api_keys)
        digests = (hashlib.sha256(key).digest() for key in plain)
        numbered = (Key(f"key-{number}", digest, is_named=False) for number, digest in enumerate(digests, 1))
        return cls(numbered, settings.api_keys_file)

    @classmethod
    def for_metrics(cls, settings: Settings) -> "Keyring":
        """Return the keyring of `/metrics`.

        Raises:
            SettingsError: its key is an API key too, so that each client could read the metrics.
        """
        if settings.metrics_key is None:
            return cls()
        secret = settings.metrics_key.get_secret_value().encode()
        if cls.from_settings(settings).find(secret) is not None:
            raise SettingsError("CSM_METRICS_KEY is one of the API keys: choose a key of its own")
        return cls([Key("metrics", hashlib.sha256(secret).digest())])

    @property
    def is_needed(self) -> bool:
        """Whether clients must present a key; with an empty keys file, no client has access."""
        return bool(self._fixed) or self._path is not None

    def find(self, presented: bytes) -> Key | None:
        """Return the key if it is valid; takes the same time whichever key matches, and if none does."""
        if self._path is not None:
            self._refresh(self._path)
        digest, now, found = hashlib.sha256(presented).digest(), time.time(), None
        for key in self._fixed + self._from_file:
            if hmac.compare_digest(key.digest, digest) and (key.expires is None or now < key.expires):
                found = key
        return found

    def _refresh(self, path: Path) -> None:
        """Read the file again if it changed; while it is missing or unreadable, the keys last read stay valid."""
        with self._lock:
            try:
                stamp = _stamp(path)
                if stamp == self._stamp:
                    return
                self._stamp, self._from_file = stamp, tuple(_read(path, strict=False))
                logger.info("keys file read again, %d keys", len(self._from_file))
            except SettingsError as error:
                if self._stamp is not None:
                    logger.error("%s; the keys read before stay valid", error)
                self._stamp = None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise SettingsError(f"CSM_API_KEYS_FILE cannot be read: {error.strerror}") from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path, strict: bool) -> Iterator[Key]:
    """Yield the keys of a file.

    While the server runs (`strict` is false), a wrong line is logged and skipped: one typo must neither lock everybody
    out nor keep the rest of an edit, perhaps a revocation, from taking effect.

    Raises:
        SettingsError: the file cannot be read, or with `strict` a line is wrong.
    """
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise SettingsError(f"CSM_API_KEYS_FILE cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield Key.parse(line)
        except ValueError:
            message = (
                f"CSM_API_KEYS_FILE, line {number}: expected name:sha256:expiry, the expiry like 2030-01-31, "
                "and a name other than anonymous and key-1, key-2, …, which clients without such a key have"
            )
            if strict:
                raise SettingsError(message) from None
            logger.error("%s; line skipped", message)
