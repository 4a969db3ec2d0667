"""Many callers in one thread: a client that takes its time must not pass for a server that does."""

import selectors
import socket
import time
from dataclasses import dataclass, field

from tests.web import raw


@dataclass(eq=False)
class Caller:
    """One connection, opened before anybody sends.

    Attributes:
        unsent: what is left of the request.
        sent: when its last byte went.
        first: when the first byte of the answer came.
    """

    connection: socket.socket
    unsent: memoryview
    received: bytes = b""
    sent: float = 0.0
    first: float = 0.0
    answer: raw.Answer = field(init=False)

    @property
    def waited(self) -> float:
        """Seconds from the last byte of the request, or from when it could be sent no more, to the first answered."""
        return max(0.0, self.first - self.sent)

    def send(self) -> bool:
        """Whether all has been sent."""
        try:
            self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except (BrokenPipeError, ConnectionResetError):
            self.unsent = self.unsent[:0]
        self.sent = time.monotonic()
        return not self.unsent

    def receive(self) -> bool:
        """Whether all has been received."""
        try:
            data = self.connection.recv(65536)
        except ConnectionResetError:
            data = b""
        self.first = self.first or time.monotonic()
        self.received += data
        return not data


def at_once(port: int, requests: list[bytes], seconds: float = 300) -> list[Caller]:
    """Send all requests at the same moment; the callers, once all have been answered."""
    with selectors.DefaultSelector() as poller:
        callers = [Caller(raw.connect(port, seconds), memoryview(raw.closing(request))) for request in requests]
        for caller in callers:
            caller.connection.setblocking(False)
            poller.register(caller.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, caller)
        # Until the server has taken all connections in, so that none of them waits for its turn to be accepted.
        time.sleep(0.2)
        _converse(poller, time.monotonic() + seconds)
    for caller in callers:
        caller.answer = raw.parse(caller.received)
    return callers


def _converse(poller: selectors.BaseSelector, deadline: float) -> None:
    while poller.get_map():
        assert time.monotonic() < deadline, f"{len(poller.get_map())} callers have no answer"
        for key, events in poller.select(1):
            caller: Caller = key.data
            if events & selectors.EVENT_READ and caller.receive():
                poller.unregister(caller.connection)
                caller.connection.close()
            elif events & selectors.EVENT_WRITE and caller.send():
                poller.modify(caller.connection, selectors.EVENT_READ, caller)
