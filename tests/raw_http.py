"""HTTP over a plain socket: sends what client libraries refuse to send, and shows every byte of the answer."""

import contextlib
import socket
from dataclasses import dataclass
from typing import Any

BOUNDARY = "the-boundary"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """Return one part of a multipart body."""
    shown = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(text: str = "chunks=3", audio: bytes = b"sound", **fields: str) -> bytes:
    """Return the body of a valid request; `text` is a script of `FakeSynthesizer`."""
    parts = [part("audio", audio, "a.wav"), part("text", text.encode())]
    parts += [part(name, value.encode()) for name, value in fields.items()]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(body: bytes, path: str = "/clone-voice", version: str = "1.1", **headers: str) -> bytes:
    """Return a POST with a key; write header names with underscores."""
    named = {"Host": "test", "X-API-Key": "secret", "Content-Type": FORM_TYPE, "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body


def clone_request(text: str = "chunks=3", **fields: str) -> bytes:
    """Return a valid request to `/clone-voice`; `text` is a script of `FakeSynthesizer`."""
    return post(form(text, b"sound", **fields))


@dataclass
class Answer:
    """An HTTP answer.

    Attributes:
        status: 0 where there is none.
        headers: by their names in lower case.
        body: with the chunked encoding removed.
        raw: every byte that came.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def is_complete(self) -> bool:
        """Whether the body came with its last chunk, or in its full length."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.raw.endswith(b"0\r\n\r\n")
        return len(self.body) == int(self.headers.get("content-length", -1))


def connect(port: int, timeout: float = 20, address: str = "127.0.0.1") -> socket.socket:
    """Connect to loopback from an address in 127/8, so that a test can play many clients."""
    return socket.create_connection(("127.0.0.1", port), timeout, source_address=(address, 0))


def read_to_end(connection: socket.socket) -> bytes:
    """Return all bytes until the other side ends or resets the connection."""
    received = b""
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not data:
            return received
        received += data


def ask(port: int, request: bytes, timeout: float = 20) -> Answer:
    """Send a request on a connection of its own and read the whole answer."""
    with connect(port, timeout) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(closing(request))
        return parse(read_to_end(connection))


def closing(request: bytes) -> bytes:
    """Return the request with `Connection: close`."""
    return request.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1)


def parse(raw: bytes) -> Answer:
    """Parse everything that came on a connection as one answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    words = first.split(" ")
    return Answer(int(words[1]) if len(words) > 1 else 0, headers, _content(headers, body), raw)


def _content(headers: dict[str, str], body: bytes) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return body
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        content += rest[:length]
        body = rest[length + 2 :]
    return content
