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
from collections.abc import Callable
from typing import Any, Self

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
        if connection.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(connection, CLOSED_BY_PEER)
        return bool(poll.poll(0))

    return is_disconnected


class ReadDeadline:
    """Ends reads from a socket some seconds from now, by closing its receiving side.

    A timeout of the socket would not do: it starts anew with every byte.

    Args:
        environ: of the request; without a socket in it there is no deadline.
        seconds: from entering the context.
    """

    def __init__(self, environ: Environ, seconds: float) -> None:
        self._connection = client_socket(environ)
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self.has_expired = False

    def __enter__(self) -> Self:
        if self._connection is not None:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self.has_expired = True
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)


def limit_writes(environ: Environ, seconds: int) -> None:
    """Let a write to the client fail when the client takes in nothing for so many seconds."""
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
