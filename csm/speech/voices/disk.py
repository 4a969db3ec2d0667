"""Files that are written completely or not at all."""

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".tmp"
LOCK = ".lock"


def write(path: Path, content: bytes) -> None:
    """Write a file so that, whenever the process or the machine stops, either the old or the new one is there.

    What an interrupted write leaves behind is removed by `sweep`.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def delete(path: Path) -> None:
    """Delete a file, which may be gone already.

    Raises:
        OSError: it cannot be deleted.
    """
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, for which other processes wait; Windows has no such lock.

    Raises:
        OSError: the folder cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    # A file of its own, because on NFS only what is open for writing can be locked.
    descriptor = os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left behind. A write in progress then fails, so hold the lock meanwhile."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            path.unlink()


def explain(error: OSError) -> str:
    """Return the cause of a failed write for a client."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the server's disk is full"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "the server's folder for voices is read-only"
    return "the server's disk failed"


def reason(error: Exception) -> str:
    """Return the cause of an error for the log, without a path."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
