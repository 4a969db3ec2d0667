"""A server that breaks down at every request: it reads the request, and closes the connection without a response."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator

READY = "/health/ready"
"""The only path that is answered, and whose connection stays open."""


class BreakingServer(socketserver.ThreadingTCPServer):
    """Listens on a port of loopback.

    Attributes:
        port: where it listens.
        received: method and path of each request except those for `READY`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port: int = self.server_address[1]


class _Connection(socketserver.StreamRequestHandler):
    server: BreakingServer

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # HAProxy resets the connections of its health checks.
            while self._answers_one():
                pass

    def _answers_one(self) -> bool:
        if not (line := self.rfile.readline()):
            return False
        method, path, _ = line.decode().split()
        length = 0
        while (header := self.rfile.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.rfile.read(length)
        if path == READY:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return True
        self.server.received.append((method, path))
        return False


@contextlib.contextmanager
def breaking_server() -> Iterator[BreakingServer]:
    """Run a server that breaks down at every request."""
    with BreakingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
