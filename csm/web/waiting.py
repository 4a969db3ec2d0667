"""Connections that wait for their callers without a thread: in a worker's main loop, where nothing may block.

gunicorn's `TConn` is a connection. Its parser holds what was read ahead, and takes it from there later on.
"""

import contextlib
import selectors
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator

from gunicorn.workers.gthread import TConn

HEADER_BYTES = 32_768
"""Of a whole header; nginx has the same limit by default."""

READ_BYTES = 16_384
"""At a time: little of the body, which the parser would only copy, but a whole TLS record: no poller sees its rest."""

END = b"\r\n\r\n"

DISCARD_BYTES = 65_536


class Waiting:
    """Connections for whose callers we wait, in the order in which they are given up.

    Args:
        poller: of the main loop, which calls what is registered with it.
        seconds: how long each may wait.
    """

    def __init__(self, poller: selectors.BaseSelector, seconds: float) -> None:
        self._poller, self._seconds = poller, seconds
        self._connections: deque[TConn] = deque()

    def add(self, conn: TConn, readable: Callable[[TConn], None]) -> None:
        """Call `readable` whenever there is something to read, until `remove`."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self._seconds
        self._connections.append(conn)
        # Events come in batches, and an earlier one of the batch may have closed this connection to make room.
        self._poller.register(
            conn.sock, selectors.EVENT_READ, lambda sock: readable(conn) if sock.fileno() >= 0 else None
        )

    def remove(self, conn: TConn) -> None:
        """Wait no longer; the connection stays open."""
        self._connections.remove(conn)
        self._poller.unregister(conn.sock)

    def take_expired(self) -> Iterator[TConn]:
        """Those whose time is over; no longer waited for."""
        while self._connections and self._connections[0].timeout <= time.monotonic():
            yield self._take_oldest()

    def take_oldest(self, count: int) -> Iterator[TConn]:
        """Up to so many of those who have waited longest; no longer waited for."""
        for _ in range(min(count, len(self._connections))):
            yield self._take_oldest()

    def __len__(self) -> int:
        return len(self._connections)

    def _take_oldest(self) -> TConn:
        conn = self._connections[0]
        self.remove(conn)
        return conn


def read_ahead(conn: TConn) -> bool:
    """Take in what has come of a header; whether the caller is still there."""
    try:
        received: bytes = conn.sock.recv(READ_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    conn.parser.unreader.buf.seek(0, 2)
    conn.parser.unreader.buf.write(received)
    return received != b""


def header(conn: TConn) -> bytes | None:
    """The header of a request without the empty line at its end; None while it is not complete."""
    head, end, _ = conn.parser.unreader.buf.getbuffer()[:HEADER_BYTES].tobytes().partition(END)
    return head if end else None


def is_endless(conn: TConn) -> bool:
    """Whether a header that is not complete never will be."""
    return len(conn.parser.unreader.buf.getbuffer()) >= HEADER_BYTES


def take_leave(conn: TConn) -> bool:
    """Say that nothing more comes from us; False where the caller is gone, or has to see a reset.

    Closing at once would do that too, but the kernel resets a connection that is closed while something is unread,
    and the caller then loses the end of the answer.
    """
    try:
        resets, _ = struct.unpack("ii", conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        if not resets:
            conn.sock.shutdown(socket.SHUT_WR)
    except OSError:
        return False
    return not resets


def discard(conn: TConn) -> int:
    """Read and forget; the number of bytes, 0 if there will be none any more."""
    with contextlib.suppress(OSError):
        try:
            return len(conn.sock.recv(DISCARD_BYTES))
        except BlockingIOError:
            return 1
    return 0
