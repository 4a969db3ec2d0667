"""Abuse of `POST /conversation` as raw HTTP requests: turns, scripts, voices, and files that do not belong together.

All of it is made from a seed; nothing is copied. The requests close the connection and carry the headers given to
`cases`, so that they get past the key. Malformed JSON and multipart have corpora of their own, which the route shares.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.corpus.multipart import INVALID, NO_AUDIO, TOO_LARGE, RawCase
from tests.corpus.raw_request import raw_request

UNKNOWN_VOICE = frozenset({400, 404, 422})

Requests = Iterator[tuple[bytes, frozenset[int]]]


@dataclass
class Maker:
    """Builds requests.

    Attributes:
        rng: source of all that varies.
        headers: sent with each request.
        bait: an address that nothing may fetch.
    """

    rng: random.Random
    headers: Mapping[str, str]
    bait: str

    def json(self, document: Any) -> bytes:
        """Return a request whose body is a document."""
        return self._request(json.dumps(document).encode(), "application/json")

    def form(self, *parts: tuple[str, Any, bool]) -> bytes:
        """Return a request whose body is a form of parts: name, content, and whether it is a file."""
        boundary = "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=20))
        body = b""
        for name, content, is_file in parts:
            filename = '; filename="a.wav"' if is_file else ""
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            body += data + b"\r\n"
        return self._request(body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")

    def noise(self) -> str:
        """Return base64 of what is no audio."""
        return base64.b64encode(self.rng.randbytes(200)).decode()

    def _request(self, body: bytes, kind: str) -> bytes:
        return raw_request("POST /conversation HTTP/1.1", body, {"Content-Type": kind, **self.headers})


def cases(seed: int, headers: Mapping[str, str] | None = None, bait: str = "http://127.0.0.1:9/") -> list[RawCase]:
    """All cases of a seed.

    Args:
        seed: the same seed makes the same bytes.
        headers: for the key, such as `{"X-API-Key": "..."}`.
        bait: an address on loopback, where a listener must never see a connection.
    """
    maker = Maker(random.Random(seed), headers or {}, bait)
    return [RawCase(make.__name__.lstrip("_"), raw, expect) for make in CLASSES for raw, expect in make(maker)]


JUNK: tuple[Any, ...] = ([], {}, True, 1.5, -1, "", "x", [[]], [None], {"": {}}, {"x": "y"}, "9" * 400, 10**40)
TURN = {"speaker": "a", "text": "Hello."}


def _junk(m: Maker) -> Requests:
    for value in JUNK:
        yield m.json({"turns": value}), INVALID | UNKNOWN_VOICE
        yield m.json({"turns": [value]}), INVALID
        yield m.json({"turns": [TURN], "voices": value}), INVALID | UNKNOWN_VOICE
        yield m.json({"turns": [TURN], "voices": {"a": value}}), UNKNOWN_VOICE
        for name in ("speaker", "text", "audio", "voice", "turn"):
            yield m.json({"turns": [TURN | {name: value}]}), INVALID | NO_AUDIO | UNKNOWN_VOICE
        yield m.form(("turns", value, False)), INVALID
        yield m.form(("turns", [TURN | {"audio": value}], False)), INVALID


def _too_many(m: Maker) -> Requests:
    voices = {"a": {"audio": m.noise()}}
    for count in (65, 1_000, 20_000):
        yield m.json({"turns": [TURN] * count, "voices": voices}), INVALID
        yield m.json({"script": "a: x\n" * count, "voices": voices}), INVALID
    yield m.json({"script": "".join(f"speaker {n}: x\n" for n in range(60))}), INVALID
    yield m.json({"turns": [TURN], "voices": {f"voice {n}": "default" for n in range(5_000)}}), INVALID
    yield m.json({"turns": [TURN | {"text": "x" * 9_000}] * 3, "voices": voices}), INVALID
    yield m.json({"turns": [TURN | {"audio": m.noise()}] * 60 + [TURN], "voices": voices}), INVALID
    yield m.json({"turns": [TURN | {"audio": "A" * 8_000_000}] * 2}), TOO_LARGE | INVALID
    yield m.form(("turns", [TURN], False), *((f"file{n}", b"x", True) for n in range(500))), TOO_LARGE


def _names(m: Maker) -> Requests:
    for name in ("__proto__", "constructor", "self", "0", "\0", "\u202e", "a" * 65, "../x", "<|AUDIO|>", "[1]", " "):
        yield m.json({"turns": [TURN | {"speaker": name}]}), INVALID
        yield m.json({"turns": [TURN], "voices": {name: "default"}}), INVALID
        yield m.json({"turns": [TURN], "voices": {"a": name}}), UNKNOWN_VOICE
    yield m.json({"turns": [TURN | {"speaker": "\ud800"}]}), INVALID


def _scripts(m: Maker) -> Requests:
    for script in ("", ":", ": x", "a:", "a: x\nb", "a" * 65 + ": x", "\n\n", "a:\u2028b:"):
        yield m.json({"script": script, "voices": {"a": {"audio": m.noise()}}}), INVALID
    for script in ("a : \x00", "a: <|AUDIO|>"):
        yield m.json({"script": script, "voices": {"a": {"audio": m.noise()}}}), NO_AUDIO
    yield m.json({"script": "a: x", "turns": [TURN]}), INVALID
    yield m.json({"script": ["a: x"]}), INVALID


def _voices(m: Maker) -> Requests:
    yield m.json({"turns": [TURN]}), INVALID
    yield m.json({"turns": [TURN, TURN | {"audio": m.noise()}]}), INVALID
    yield m.json({"turns": [TURN | {"audio": m.noise()}]}), INVALID
    yield m.json({"turns": [TURN | {"voice": "one"}, TURN | {"voice": "two"}]}), INVALID
    yield m.json({"turns": [TURN | {"voice": "one"}], "voices": {"a": "two"}}), INVALID
    yield m.json({"turns": [TURN], "voices": {"a": {"audio": m.noise(), "voice": "default"}}}), INVALID
    yield m.json({"turns": [TURN], "voices": {"a": {"audio": m.bait}}}), INVALID
    yield m.json({"turns": [TURN | {"audio": m.bait}]}), INVALID
    yield m.json({"turns": [TURN], "voices": {"a": {"audio": m.noise()}}}), NO_AUDIO
    yield m.json({"turns": [TURN | {"audio": m.noise()}, TURN]}), NO_AUDIO


def _files(m: Maker) -> Requests:
    turns, voices = ("turns", [TURN], False), ("voices", {"a": "file"}, False)
    data = m.rng.randbytes(300)
    yield m.form(turns, voices, ("file", data, True)), NO_AUDIO
    yield m.form(turns, voices), UNKNOWN_VOICE
    heard = TURN | {"audio": "file"}
    yield m.form(("turns", [heard] * 60 + [TURN], False), ("file", data, True)), INVALID
    yield m.form(("turns", [heard, TURN], False), voices, ("file", data, True)), INVALID
    yield m.form(turns, voices, ("file", b"", True)), INVALID
    yield m.form(turns, voices, ("file", data, True), ("file", data, True)), INVALID
    yield m.form(turns, voices, ("file", data, True), ("file", b"x", False)), INVALID
    yield m.form(turns, voices, ("file", data, True), ("other", data, True)), INVALID
    yield m.form(turns, voices, ("file", data, False)), INVALID
    yield m.form(turns, ("voices", {"a": {"audio": "other"}}, False), ("file", data, True)), INVALID
    for name in ("turns", "voices", "script", "parts", "stream"):
        yield m.form(turns, voices, (name, data, True)), INVALID
    for name in ("", "../file", "%00", "x" * 5_000):
        yield m.form(turns, ("voices", {"a": name}, False), (name, data, True)), INVALID | NO_AUDIO
    for broken in (b"", b"[", b"nul", b"[1,]", b"\xff", b"[" * 100_000):
        yield m.form(("turns", broken, False)), INVALID
        yield m.form(turns, ("voices", broken, False), ("file", data, True)), INVALID


CLASSES: tuple[Callable[[Maker], Requests], ...] = (_junk, _too_many, _names, _scripts, _voices, _files)
