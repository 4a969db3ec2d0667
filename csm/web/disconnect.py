"""The client's socket: has the client disconnected, and is it sending or reading too slowly?

gunicorn puts the socket into the WSGI environment as `gunicorn.socket`, and no other part of gunicorn reads from it
while a request is being handled. Under other servers nothing is known before a write fails.
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

# The first is Linux's; elsewhere a client that closes its side may go unnoticed until a write fails.
CLOSED_BY_PEER = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


def client_socket(environ: Environ) -> socket.socket | None:
    """Return the socket of the client, or None under a server that does not tell."""
    found = environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def watch(environ: Environ) -> Callable[[], bool]:
    """Return `is_disconnected`, which says without blocking whether the client has closed the connection.

    Data that waits to be read, such as a pipelined request, is no disconnect. A client that closes only its sending
    side (`nc -N`) cannot be told from one that is gone and counts as gone, as it does for nginx.
    """
    connection = client_socket(environ)
    if connection is None:
        return lambda: False

    def is_disconnected() -> bool:
        poll = select.poll()
        try:
            poll.register(connection, CLOSED_BY_PEER)
        except (ValueError, OSError):  # closed, maybe by another thread just now
            return True
        return bool(poll.poll(0))

    return is_disconnected


@contextlib.contextmanager
def read_deadline(environ: Environ, seconds: float) -> Iterator[threading.Event]:
    """End reads from the client after so many seconds; yield an event that tells whether that happened.

    The receiving side of the socket is closed. A timeout of the socket would not do: it starts anew with every byte.
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
    """Make a write to the client fail if the client accepts no data for so many seconds."""
    if (connection := client_socket(environ)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def reset_http_1_0(environ: Environ) -> None:
    """Reset the connection of a client that could not tell a cut answer from a finished one.

    HTTP/1.0 has no chunks: the end of the connection is the end of the body, but a reset is an error to every client
    and proxy. A chunked answer is recognised as cut by its missing last chunk.
    """
    connection = client_socket(environ)
    if connection is None or environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # gunicorn would shut the connection down in order, which hides the reset, and counts a socket that we had closed
    # twice. So another socket takes the place of this one, which closes it.
    placeholder, other = socket.socketpair()
    with placeholder, other:
        os.dup2(placeholder.fileno(), connection.fileno(), inheritable=False)
