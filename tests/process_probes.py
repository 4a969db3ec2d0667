"""Observe what a process does: open or write files, connect to something, leave processes or memory behind (Linux)."""

import ctypes
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_ACCESS, _MODIFY, _CREATE, _OPEN = 0x1, 0x2, 0x100, 0x20
ANYTHING = _ACCESS | _OPEN
WRITES = _MODIFY | _CREATE


class FileWatch:
    """Counts events on files, or on the files directly in folders, by inotify."""

    def __init__(self, paths: Iterable[Path], mask: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in paths:
            if libc.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {path}")

    def events(self) -> bytes:
        """Return raw events since the last call; nothing when nothing happened."""
        try:
            return os.read(self._fd, 65536)
        except BlockingIOError:
            return b""

    def __enter__(self) -> "FileWatch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Listener:
    """A loopback port, TCP and UDP, that nothing should connect to."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._tcp.setblocking(False)
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._udp.setblocking(False)

    def visitors(self) -> int:
        """Count connections and datagrams since the last call."""
        return sum(self._came(ask) for ask in (self._accept, lambda: self._udp.recv(65536)))

    def _accept(self) -> None:
        self._tcp.accept()[0].close()

    @staticmethod
    def _came(ask: Callable[[], object]) -> int:
        count = 0
        while True:
            try:
                ask()
            except BlockingIOError:
                return count
            count += 1

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._tcp.close()
        self._udp.close()


def children(pid: int | str = "self") -> list[int]:
    """Return the living and zombie children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found += map(int, (task / "children").read_text().split())
    return found


def descriptors(pid: int | str = "self") -> int:
    """Count the open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_peak_mb(pid: int | str = "self") -> float:
    """Return the highest resident memory since the process started or `reset_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def reset_peak(pid: int | str = "self") -> None:
    """Start `resident_peak_mb` anew from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def connections_to(port: int) -> int:
    """Count the established connections from this machine to a port on loopback."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(remote == f"0100007F:{port:04X}" and state == "01" for _, _, remote, state, *_ in rows)
