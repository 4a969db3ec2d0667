"""gunicorn's threaded worker, taught patience with slow callers, draining in the open, and dying of a sick device.

What is added to `gunicorn.workers.gthread` (27.0), and why:

* A connection takes a thread only once its first byte is there, its header must arrive within `HEADER_SECONDS`, and
  an answer must make progress within `SEND_SECONDS`; otherwise a handful of idle sockets would occupy every thread.
* The wait for the caller's end of a closing connection happens in the thread that served it, not in the main loop,
  which would neither accept nor answer for up to two seconds each time.
* On SIGTERM the port stays open until nothing runs any more: `/health` says draining, new work is turned away with
  503, what runs is finished. Plain gunicorn would leave new connections unanswered in the backlog.
* A request that is no HTTP is answered with a problem like any other error, and neither answer nor log quotes it.
* A synthesizer that says `restart` in its status ends the process with `RESPAWN`, and the arbiter starts a fresh one.
"""

import contextlib
import logging
import os
import selectors
import socket
import struct
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import TConn, ThreadWorker

from csm import log
from csm.speech import Status
from csm.web import problems, request_id
from csm.web.app import synthesizer_of
from csm.web.connection import Patience

logger = logging.getLogger("csm.web")

HEADER_SECONDS = 15.0
SEND_SECONDS = 15
STATUS: dict[type[Exception], int] = {
    http.LimitRequestLine: 414,
    http.LimitRequestHeaders: 431,
    http.ExpectationFailed: 417,
    http.UnsupportedTransferCoding: 501,
}
"""Of what is wrong with the header of a request; 400 for all else."""

RESPAWN = 70
"""Exit status after which gunicorn starts a new worker (3 and 4 would stop the server)."""

RESPAWN_SECONDS = 5.0
"""How long answers in progress may take to fail by themselves before the process ends."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """One process that serves the application with threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: dict[TConn, Patience] = {}
        self._respawn_at: float | None = None

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to a thread, but a new one only after its first byte."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEADER_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: TConn) -> Any:
        """Serve one request, in a thread; whether the connection is kept."""
        with Patience(conn.sock, HEADER_SECONDS) as patience:
            self._patience[conn] = patience
            try:
                kept = super().handle(conn)
            finally:
                del self._patience[conn]
        if not kept:
            _close(conn.sock)
        return kept

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Called when the header is complete: from here on, the application bounds how long it waits."""
        self._patience[conn].cancel()
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what did not get as far as the application."""
        if not isinstance(exc, http.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, fresh = STATUS.get(type(exc), 400), request_id.choose(None)
        logger.info("no valid request", extra=log.fields(id=fresh, status=status, error=type(exc).__name__))
        with contextlib.suppress(OSError):
            client.sendall(_refusal(status, fresh))

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Back in the main loop: keep the connection, or forget it, for its thread has closed it."""
        if fs.cancelled() or fs.exception() is not None or not fs.result():
            self.nr_conns -= 1
            util.close(conn.sock)
        else:
            super().finish_request(conn, fs)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish what runs. The main loop drains, for a signal handler must not take locks."""
        if self.alive:
            self.method_queue.defer(self._drain)
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: end at once. Python's own exit would wait for the threads, that is for all streams."""
        os._exit(0)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Go on accepting while draining; `notify` stops it when nothing runs any more."""
        super().set_accept_enabled(enabled or not (self.alive or self._idle()))

    def notify(self) -> None:
        """The heartbeat, about once a second."""
        super().notify()
        if not self.alive and self._idle():
            super().set_accept_enabled(False)
            self._forget_silent_callers()
        if self._status().details.get("restart"):
            self._respawn()

    def run(self) -> None:
        """Serve until told to stop, then release the device."""
        super().run()
        synthesizer_of(self.wsgi).close()

    def _status(self) -> Status:
        return synthesizer_of(self.wsgi).status()

    def _idle(self) -> bool:
        status = self._status()
        return status.running == status.waiting == 0

    def _drain(self) -> None:
        logger.info("draining")
        synthesizer_of(self.wsgi).drain()

    def _forget_silent_callers(self) -> None:
        """Connections that never sent a byte, such as browsers open in advance, would delay the end."""
        for conn in self.pending_conns:
            conn.timeout = time.monotonic()

    def _respawn(self) -> None:
        now = time.monotonic()
        self._respawn_at = self._respawn_at or now + RESPAWN_SECONDS
        if self._idle() or now >= self._respawn_at:
            logger.critical("the device needs a fresh process: %s", self._status().reason)
            os._exit(RESPAWN)


def _refusal(status: int, fresh: str) -> bytes:
    phrase = problems.phrase(status)
    body = problems.document(status, f"The request is not valid HTTP, or too large: {phrase}.", fresh).encode()
    lines = (
        f"HTTP/1.1 {status} {phrase}",
        "Connection: close",
        f"Content-Type: {problems.MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        f"{request_id.HEADER}: {fresh}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _close(connection: socket.socket) -> None:
    """Close so that the caller reads the whole answer, or at once where the answer asked for a reset."""
    try:
        resets, _ = struct.unpack("ii", connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    except OSError:
        return
    if resets:
        util.close(connection)
    else:
        util.close_graceful(connection)
