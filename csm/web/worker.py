"""gunicorn's threaded worker, taught patience with slow callers, draining in the open, and dying of a sick device.

What is added to `gunicorn.workers.gthread` (27.0), and why:

* A connection takes a thread only while there is work to do. Before the header of a request is complete, and after
  the answer, it waits in the main loop; otherwise a handful of slow or silent callers would occupy every thread. An
  answer must make progress within `SEND_SECONDS`.
* In a crowd, those for whom there is no place are answered in the main loop, by the doorman.
* When there are as many connections as may be, those go that only wait, the longest first.
* On SIGTERM the port stays open until nothing runs any more: `/health` says draining, new work is turned away with
  503, what runs is finished. Plain gunicorn would leave new connections unanswered in the backlog.
* A request that is no HTTP is answered with a problem like any other error, and neither answer nor log quotes it.
* A synthesizer that says `restart` in its status ends the process with `RESPAWN`, and the arbiter starts a fresh one.
"""

import contextlib
import errno
import functools
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import TConn, ThreadWorker

from csm import log
from csm.speech import Status, Synthesizer
from csm.web import access, problems, request_id, waiting
from csm.web.app import doorman_of, synthesizer_of
from csm.web.connection import CLOSE, Environ
from csm.web.doorman import Doorman
from csm.web.lobby import LEAVE
from csm.web.waiting import Waiting

logger = logging.getLogger("csm.web")

HEADER_SECONDS = 15.0
SEND_SECONDS = 15
LINGER_SECONDS = 5.0
LINGER_BYTES = 64_000_000
SPARE_CONNECTIONS = 16
"""That are given up together when there is no room for more."""
STATUS: dict[type[Exception], int] = {
    http.LimitRequestLine: 414,
    http.LimitRequestHeaders: 431,
    http.ExpectationFailed: 417,
    http.UnsupportedTransferCoding: 501,
}
"""Of what is wrong with the header of a request; 400 for all else."""

INVALID = "The request is not valid HTTP, or too large: {}."

RESPAWN = 70
"""Exit status after which gunicorn starts a new worker (3 and 4 would stop the server)."""

RESPAWN_SECONDS = 5.0
"""How long answers in progress may take to fail by themselves before the process ends."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """One process that serves the application with threads."""

    wsgi: Any
    _application: Callable[..., Iterable[bytes]]
    _synthesizer: Synthesizer
    _doorman: Doorman
    _arriving: Waiting
    _leaving: Waiting

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._respawn_at: float | None = None

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to a thread once the header of a request is there."""
        if not conn.initialized:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
            conn.init()
        conn.sock.setblocking(False)  # `init` and an earlier request leave it blocking
        if step := self._next(conn):
            step(conn)
        else:
            self._arriving.add(conn, self._arrive)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection in; out of descriptors, make room instead of letting the process die."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._make_room(SPARE_CONNECTIONS)

    def serve(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The application, which is told how to make its answer the last of a connection."""
        response = start_response.__self__
        environ[CLOSE], environ[LEAVE] = response.force_close, response.req.leave
        return self._application(environ, start_response)

    def handle(self, conn: TConn) -> Any:
        """In a thread: answer a request; whatever becomes of it, it is not in the lobby afterwards."""
        try:
            return super().handle(conn)
        finally:
            if conn.leave is not None:
                conn.leave()

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Let `serve` see what the doorman said."""
        req.leave = conn.leave
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what did not get as far as the application."""
        if not isinstance(exc, http.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, fresh = STATUS.get(type(exc), 400), request_id.choose(None)
        logger.info("no valid request", extra=log.fields(id=fresh, status=status, error=type(exc).__name__))
        with contextlib.suppress(OSError):
            client.sendall(problems.message(status, INVALID.format(problems.phrase(status)), fresh, access.HEADERS))

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Back in the main loop: keep the connection for more, or part with the caller."""
        if fs.cancelled() or fs.exception() is not None or not fs.result():
            self._part(conn)
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
        """The heartbeat: in every turn of the main loop, at least once a second."""
        super().notify()
        self._give_up()
        if not self.alive and self._idle():
            super().set_accept_enabled(False)
            # Browsers open connections in advance: they would delay the end.
            self._forget(self._arriving.take_oldest(len(self._arriving)))
        if self._status().details.get("restart"):
            self._respawn()

    def load_wsgi(self) -> None:
        """Load the application, and stand before it."""
        super().load_wsgi()
        self._application, self._synthesizer = self.wsgi, synthesizer_of(self.wsgi)
        self._doorman = doorman_of(self.wsgi)
        self.wsgi = self.serve

    def run(self) -> None:
        """Serve until told to stop, then release the device."""
        self._arriving = Waiting(self.poller, HEADER_SECONDS)
        self._leaving = Waiting(self.poller, LINGER_SECONDS)
        super().run()
        self._synthesizer.close()

    def _arrive(self, conn: TConn) -> None:
        """Something of a header came, or the caller left."""
        if step := self._next(conn):
            self._arriving.remove(conn)
            step(conn)

    def _next(self, conn: TConn) -> Callable[[TConn], None] | None:
        """What to do with a connection whose caller may have sent something; None to wait on."""
        if waiting.header(conn) is None and not waiting.read_ahead(conn):
            return self._drop
        if (head := waiting.header(conn)) is not None:
            return functools.partial(self._meet, head)
        return self._refuse_header if waiting.is_endless(conn) else None

    def _drop(self, conn: TConn) -> None:
        self._forget([conn])

    def _meet(self, head: bytes, conn: TConn) -> None:
        """Let a request in, to a thread of its own, or turn it away."""
        try:
            decision = self._doorman.meet(head)
        except Exception as error:
            # A mistake in here may cost one answer, not the main loop and with it all streams.
            logger.error("a request could not be judged: %s", log.anatomy(error))
            decision = None
        if isinstance(decision, bytes):
            self._turn_away(decision, conn)
            return
        conn.leave = decision
        super().enqueue_req(conn)

    def _turn_away(self, answer: bytes, conn: TConn) -> None:
        # So little fits into the buffer of a connection whose earlier answers were read; else there is no hurry.
        with contextlib.suppress(OSError):
            conn.sock.send(answer)
        self._part(conn)

    def _refuse_header(self, conn: TConn) -> None:
        self.handle_error(None, conn.sock, conn.client, http.LimitRequestHeaders("header too large"))
        self._part(conn)

    def _part(self, conn: TConn) -> None:
        """Close a connection so that the caller reads the whole answer, while we take in what still comes."""
        conn.left = LINGER_BYTES
        if waiting.take_leave(conn):
            self._leaving.add(conn, self._leave)
        else:
            self._drop(conn)

    def _leave(self, conn: TConn) -> None:
        received = waiting.discard(conn)
        conn.left -= received
        if not received or conn.left < 0:
            self._leaving.remove(conn)
            self._drop(conn)

    def _give_up(self) -> None:
        """Who has waited too long, and who waits while there is no room for newcomers."""
        for crowd in (self._leaving, self._arriving):
            self._forget(crowd.take_expired())
        if self.nr_conns >= self.worker_connections:
            self._make_room(SPARE_CONNECTIONS)

    def _make_room(self, count: int) -> None:
        for crowd in (self._leaving, self._arriving):
            taken = list(crowd.take_oldest(count))
            self._forget(taken)
            count -= len(taken)

    def _forget(self, conns: Iterable[TConn]) -> None:
        for conn in conns:
            self.nr_conns -= 1
            util.close(conn.sock)

    def _status(self) -> Status:
        return self._synthesizer.status()

    def _idle(self) -> bool:
        status = self._status()
        return status.running == status.waiting == 0

    def _drain(self) -> None:
        logger.info("draining")
        self._synthesizer.drain()

    def _respawn(self) -> None:
        now = time.monotonic()
        self._respawn_at = self._respawn_at or now + RESPAWN_SECONDS
        if self._idle() or now >= self._respawn_at:
            logger.critical("the device needs a fresh process: %s", self._status().reason)
            os._exit(RESPAWN)
