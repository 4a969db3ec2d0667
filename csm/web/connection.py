"""The caller's socket, where the server lets us see it: has the caller hung up, is the caller too slow?

gunicorn hands it over as `environ["gunicorn.socket"]`. Its threaded worker takes a connection out of its poller
before a thread serves it and puts it back afterwards, so nobody else reads the socket meanwhile. Under other servers
nothing is seen, and a caller's leaving shows when the next chunk is written.
"""

import logging
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

logger = logging.getLogger("csm.web")

Environ = dict[str, Any]

CLOSE = "csm.close"
"""In the environment where our worker runs: called, it makes the answer the last one of its connection, and the worker
takes in whatever the caller still sends."""


def hang_up(environ: Environ) -> Callable[[], bool]:
    """A cheap check, without blocking, whether the caller has closed the connection.

    Data that waits to be read (a pipelined request) is no hang-up. A caller that closes only its sending side
    (`nc -N`) cannot be told from one that is gone, and counts as gone, as it does for nginx.
    """
    connection = _socket(environ)
    if connection is None:
        return lambda: False
    if isinstance(connection, ssl.SSLSocket):
        return lambda: _closed(connection)
    return lambda: _at_end(connection)


class Patience:
    """Closes the receiving side of a socket after some seconds, which ends a read that blocks on it.

    A time-out of the socket would not do: a byte every few seconds satisfies it for ever.

    Args:
        connection: to close; None to do nothing.
        seconds: how long to wait.
    """

    def __init__(self, connection: socket.socket | None, seconds: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(seconds, self._lose)
        self._timer.daemon = True
        self.lost = False

    @classmethod
    def of(cls, environ: Environ, seconds: float) -> "Patience":
        """Patience with the caller of a request."""
        return cls(_socket(environ), seconds)

    def __enter__(self) -> Self:
        if self._connection is not None:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Wait as long as it takes."""
        self._timer.cancel()

    def _lose(self) -> None:
        self.lost = True
        try:
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RD)
        except OSError:
            logger.debug("a slow connection was gone before it was closed")


def reset_at_close(environ: Environ) -> None:
    """Let the connection end with a reset, where HTTP itself cannot tell a cut answer from a finished one.

    HTTP/1.0 has no chunks: the end of the connection is the end of the body. A reset is an error to every client
    and proxy; with chunks the missing last one says the same more gently.
    """
    connection = _socket(environ)
    if connection is not None and environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _socket(environ: Environ) -> socket.socket | None:
    found = environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def _at_end(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def _closed(connection: ssl.SSLSocket) -> bool:
    """TLS sockets cannot be peeked into; where the system reports a closed peer (Linux), that must do."""
    if connection.fileno() < 0:
        return True
    hang_up_events = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
    poll = select.poll()
    poll.register(connection, hang_up_events)
    return bool(poll.poll(0))
