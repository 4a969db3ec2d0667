"""The client's socket: detects disconnects, and sets time limits for reads and writes.

gunicorn puts the socket into the WSGI environment as `gunicorn.socket`, and does not read from it while a request is
being handled. Under other servers, a disconnect is noticed only when a write fails.
"""

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

Environ = dict[str, Any]

# POLLRDHUP exists on Linux only; elsewhere a client that closes its side may go unnoticed until a write fails.
CLOSED_BY_PEER = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


def client_socket(environ: Environ) -> socket.socket | None:
    """Return the socket of the client, or None under a server that does not provide it."""
    found = environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def watch(environ: Environ) -> Callable[[], bool]:
    """Return a function `is_disconnected` that says, without blocking, whether the client has closed the connection.

    Unread data, such as a pipelined request, is not taken for a disconnect. A client that closes only its sending side
    (`nc -N`) cannot be distinguished from one that has disconnected and is treated as disconnected, as nginx does.
    """
    connection = client_socket(environ)
    if connection is None:
        return lambda: False

    def is_disconnected() -> bool:
        poll = select.poll()
        try:
            poll.register(connection, CLOSED_BY_PEER)
        except (ValueError, OSError):  # closed, perhaps by another thread
            return True
        return bool(poll.poll(0))

    return is_disconnected


@contextlib.contextmanager
def read_deadline(environ: Environ, seconds: float) -> Iterator[threading.Event]:
    """End all reads from the client after `seconds`; yield an event that is set when that happens.

    The receiving side of the socket is shut down. A socket timeout would not be enough: it restarts with every byte.
    """
    connection, expired = client_socket(environ), threading.Event()
    if connection is None:
        yield expired
        return

    def expire() -> None:
        expired.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def limit_writes(environ: Environ, seconds: int) -> None:
    """Make a write to the client fail if the client accepts no data for `seconds`."""
    if (connection := client_socket(environ)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def write_deadline(environ: Environ, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
    """End all writes to the client after `seconds`, and call `expired`; return a function that cancels this.

    `limit_writes` would not be enough: a client that accepts a byte from time to time holds a thread for hours.
    """
    connection = client_socket(environ)
    if connection is None:
        return lambda: None

    def expire() -> None:
        expired()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    return timer.cancel


def reset_http_1_0(environ: Environ) -> None:
    """Reset the connection of an HTTP/1.0 client, which could not distinguish a truncated answer from a complete one.

    HTTP/1.0 has no chunks: the body ends with the connection. A reset is an error to every client and proxy. With
    HTTP/1.1, the missing last chunk shows that the answer is truncated.
    """
    connection = client_socket(environ)
    if connection is None or environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # gunicorn would shut the connection down cleanly, which hides the reset, and would count a socket that is closed
    # here twice. Replacing the descriptor by that of another socket closes the connection.
    placeholder, other = socket.socketpair()
    with placeholder, other:
        os.dup2(placeholder.fileno(), connection.fileno(), inheritable=False)
