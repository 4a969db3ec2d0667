"""JSON abuse as raw HTTP requests to `POST /v1/audio/speech`: malformed, ambiguous, huge, and lying.

All of it is made from a seed; nothing is copied. The requests close the connection and carry the headers given to
`cases`, so that they get past the key.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.corpus.multipart import HEADER_REFUSED, RawCase
from tests.corpus.raw_request import raw_request

MALFORMED = frozenset({400})
WRONG_TYPE = frozenset({415})
TOO_LARGE = frozenset({400, 413})
NO_AUDIO = frozenset({400, 415})
"""For valid bodies whose reference audio is none."""

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

    def request(self, body: bytes, **changed: str | None) -> bytes:
        """Return a whole request; a header given as None is left out."""
        others = {name.replace("_", "-"): value for name, value in changed.items()}
        headers = {"Content-Type": "application/json", **self.headers, **others}
        return raw_request("POST /v1/audio/speech HTTP/1.1", body, headers)

    def speech(self, /, **fields: Any) -> bytes:
        """Return a request with a body that is valid apart from the fields given."""
        return self.request(self.body(**fields))

    def body(self, /, **fields: Any) -> bytes:
        """Return a body that is valid apart from the fields given."""
        audio = base64.b64encode(b"not audio").decode()
        return json.dumps({"model": "tts-1", "input": "A short sentence.", "ref_audio": audio} | fields).encode()


def cases(seed: int, headers: Mapping[str, str] | None = None, bait: str = "http://127.0.0.1:9/") -> list[RawCase]:
    """All cases of a seed.

    Args:
        seed: the same seed makes the same bytes.
        headers: for the key, such as `{"X-API-Key": "..."}`.
        bait: an address on loopback, where a listener must never see a connection.
    """
    maker = Maker(random.Random(seed), headers or {}, bait)
    return [RawCase(make.__name__.lstrip("_"), raw, expect) for make in CLASSES for raw, expect in make(maker)]


def _truncated(m: Maker) -> Requests:
    body = m.body()
    for _ in range(8):
        yield m.request(body[: m.rng.randrange(len(body))]), MALFORMED
    yield m.request(b""), MALFORMED


def _no_object(m: Maker) -> Requests:
    for body in (b"[]", b"null", b"1", b'"text"', b"true", b"[{}]"):
        yield m.request(body), MALFORMED


def _almost_json(m: Maker) -> Requests:
    for body in (b"{'model': 1}", b"{model: 1}", b'{"model": 1,}', b"{} {}", b"/* */ {}", b"\x00", b"\xef\xbb\xbf{}"):
        yield m.request(body), MALFORMED
    for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b"0x1", b"1e999", b"9" * 5000):
        yield m.request(m.body()[:-1] + b', "speed": ' + number + b"}"), MALFORMED


def _other_encodings(m: Maker) -> Requests:
    text = m.body().decode()
    for encoding in ("utf-16", "utf-32", "utf-7", "cp500"):
        yield m.request(text.encode(encoding) + b"\xff"), MALFORMED
    yield m.request(m.body(input="caf").replace(b"caf", b"caf\xe9")), MALFORMED
    yield m.request(m.body(input="caf").replace(b"caf", b"caf\xed\xa0\x80")), MALFORMED
    yield m.request(m.body(input="caf").replace(b"caf", b"caf\\ud800")), MALFORMED


def _repeated_fields(m: Maker) -> Requests:
    for name in (b'"speed"', b'"sp\\u0065ed"'):
        yield m.request(m.body(speed=1)[:-1] + b", " + name + b": 2}"), MALFORMED


def _bombs(m: Maker) -> Requests:
    for depth in (1_000, 50_000, 2_000_000):
        yield m.request(b"[" * depth), MALFORMED
        yield m.request(b"[" * depth + b"]" * depth), MALFORMED
        yield m.request(b'{"model":' * depth), MALFORMED | TOO_LARGE
    yield m.request(b"[" + b"[]," * 2_000_000 + b"[]]"), MALFORMED
    yield m.request(b'"' + b'\\"' * 2_000_000), MALFORMED
    yield m.request(b'{"a":"' * 500_000), MALFORMED
    fields = {f"field{number}": number for number in range(50_000)}
    yield m.speech(**fields), MALFORMED


def _too_large(m: Maker) -> Requests:
    yield m.speech(ref_audio="A" * 16_000_000), TOO_LARGE
    yield m.speech(input="x" * 1_000_000), MALFORMED
    yield m.request(b"", Content_Length=str(10**12)), TOO_LARGE


def _types(m: Maker) -> Requests:
    junk: list[Any] = [[], {}, True, 1.5, -1, "", None, [[]], {"id": {"id": 1}}, "9" * 400, 10**40]
    for name in ("model", "input", "voice", "response_format", "stream_format", "ref_audio", "ref_text"):
        for value in m.rng.sample(junk, 5):
            yield m.speech(**{name: value}), MALFORMED | NO_AUDIO | {404}
    for name in ("speed", "temperature", "top_k", "seed", "max_seconds", "consent"):
        for value in m.rng.sample([value for value in junk if value is not None], 5):
            yield m.speech(**{name: value}), MALFORMED | NO_AUDIO


def _field_names(m: Maker) -> Requests:
    for name in ("", "__proto__", "Model", "model ", "x" * 100_000, "\0", "\ud800", "../model", "self", "model_config"):
        yield m.speech(**{name: 1}), MALFORMED


def _addresses(m: Maker) -> Requests:
    schemes = ("http", "HTTP", "https", "ftp", "file", "gopher", "s3", "concat", "subfile")
    addresses = [f"{scheme}:{m.bait.partition(':')[2]}" for scheme in schemes]
    addresses += ["file:///etc/passwd", "/etc/passwd", "../../etc/passwd", f"data:text/plain,{m.bait}", f"//{m.bait}"]
    for address in addresses:
        yield m.speech(ref_audio=address), MALFORMED


def _base64(m: Maker) -> Requests:
    for junk in (
        "=",
        "A",
        "AAA",
        "A=A=",
        "%41%41",
        "-_-_",
        "ÄÖ==",
        "AAAA\0",
        "data:;base64,",
        "data:,",
        "data:",
    ):
        yield m.speech(ref_audio=junk), MALFORMED
    for data in (b"\0", m.rng.randbytes(100_000), b"#EXTM3U\n" + m.bait.encode(), b"RIFF\xff\xff\xff\xffWAVE"):
        encoded = base64.b64encode(data).decode()
        yield m.speech(ref_audio=encoded), NO_AUDIO
        yield m.speech(ref_audio=f"data:audio/wav;base64,{encoded}"), NO_AUDIO
        yield m.speech(ref_audio=encoded, stream_format="sse"), NO_AUDIO


def _voices(m: Maker) -> Requests:
    names = (
        "../default",
        "..%2fdefault",
        "/etc/passwd",
        "a\0b",
        "x" * 300,
        "\N{PILE OF POO}",
        "DEFAULT/",
        "${x}",
        "'; --",
    )
    for name in names:
        for voice in (name, {"id": name}):
            yield m.speech(voice=voice, ref_audio=None), MALFORMED | {404}


def _content_types(m: Maker) -> Requests:
    kinds = (
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "\xff/\xfe",
    )
    for kind in (*kinds, "", "application/json; charset=utf-16", "application/jsonp"):
        yield m.request(m.body(), Content_Type=kind), WRONG_TYPE
    yield m.request(m.body(), Content_Type=None), WRONG_TYPE


def _lengths(m: Maker) -> Requests:
    for length in ("-1", "+5", "0x10", "5, 5", ""):
        yield m.request(m.body(), Content_Length=length), MALFORMED
    yield m.request(m.body(), Content_Length="10"), MALFORMED
    yield m.request(m.body(), Content_Length=None, Transfer_Encoding="gzip"), HEADER_REFUSED | WRONG_TYPE
    yield m.request(b"zz\r\n", Content_Length=None, Transfer_Encoding="chunked"), MALFORMED


def _noise(m: Maker) -> Requests:
    """Yield valid bodies with bytes changed, cut out and doubled at random."""
    for _ in range(60):
        body = bytearray(m.body(speed=1, temperature=0.9, voice={"id": "voice_1"}))
        for _ in range(m.rng.randint(1, 6)):
            at, length = m.rng.randrange(len(body)), m.rng.randint(0, 8)
            body[at : at + length] = m.rng.choice((m.rng.randbytes(length), bytes(body[at : at + length]) * 2, b""))
        yield m.request(bytes(body)), MALFORMED | NO_AUDIO | {404}


CLASSES: tuple[Callable[[Maker], Requests], ...] = (
    _truncated,
    _no_object,
    _almost_json,
    _other_encodings,
    _repeated_fields,
    _bombs,
    _too_large,
    _types,
    _field_names,
    _addresses,
    _base64,
    _voices,
    _content_types,
    _lengths,
    _noise,
)
