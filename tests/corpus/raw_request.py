"""Requests as bytes, so that any of them can be wrong."""

from collections.abc import Mapping


def raw_request(line: str, body: bytes, headers: Mapping[str, str | None]) -> bytes:
    """Return a whole request that closes the connection; a header given as None is left out."""
    named = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value is not None)
    return f"{line}\r\n{lines}\r\n".encode("latin-1") + body
