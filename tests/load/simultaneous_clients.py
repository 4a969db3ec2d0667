"""Many clients in one thread, so that a slow client is not mistaken for a slow server."""

import selectors
import socket
import time
from dataclasses import dataclass, field

from tests import raw_http


@dataclass(eq=False)
class Client:
    """One connection, opened before any client sends.

    Attributes:
        unsent: what is left of the request.
        sent: when its last byte went.
        first: when the first byte of the answer came.
        last: when the answer ended.
    """

    connection: socket.socket
    unsent: memoryview
    received: bytes = b""
    sent: float = 0.0
    first: float = 0.0
    last: float = 0.0
    answer: raw_http.Answer = field(init=False)

    @property
    def waited(self) -> float:
        """Seconds from the last byte of the request that could be sent to the first byte of the answer."""
        return max(0.0, self.first - self.sent)

    def send(self) -> bool:
        """Send what the socket takes; return whether all has been sent."""
        try:
            self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except (BrokenPipeError, ConnectionResetError):
            self.unsent = self.unsent[:0]
        self.sent = time.monotonic()
        return not self.unsent

    def receive(self) -> bool:
        """Receive what has come; return whether the answer has ended."""
        try:
            data = self.connection.recv(65536)
        except ConnectionResetError:
            data = b""
        self.first = self.first or time.monotonic()
        self.received += data
        self.last = time.monotonic()
        return not data


def at_once(port: int, requests: list[bytes], seconds: float = 300) -> list[Client]:
    """Send all requests at the same time, each from an address of its own; return when all have been answered."""
    with selectors.DefaultSelector() as poller:
        clients = [
            Client(raw_http.connect(port, seconds, f"127.0.6.{number}"), memoryview(raw_http.closing(request)))
            for number, request in enumerate(requests)
        ]
        for client in clients:
            client.connection.setblocking(False)
            poller.register(client.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
        # Time for the server to accept all connections, so that no request waits for its turn to be accepted.
        time.sleep(0.2)
        _converse(poller, time.monotonic() + seconds)
    for client in clients:
        client.answer = raw_http.parse(client.received)
    return clients


def _converse(poller: selectors.BaseSelector, deadline: float) -> None:
    while poller.get_map():
        assert time.monotonic() < deadline, f"{len(poller.get_map())} clients have no answer"
        for key, events in poller.select(1):
            client: Client = key.data
            if events & selectors.EVENT_READ and client.receive():
                poller.unregister(client.connection)
                client.connection.close()
            elif events & selectors.EVENT_WRITE and client.send():
                poller.modify(client.connection, selectors.EVENT_READ, client)
