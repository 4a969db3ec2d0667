"""Multipart abuse as raw HTTP requests: what strangers, broken clients and scanners send, and what they may be told.

All of it is made from a seed; nothing is copied. The requests are for `POST /clone-voice`, close the connection, and
carry the headers given to `cases`, so that they get past the key.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.corpus.raw_request import raw_request

REFUSED = frozenset({400})
INVALID = frozenset({400, 422})
TOO_LARGE = frozenset({400, 413})
NO_AUDIO = frozenset({400, 415, 422})
"""For valid forms whose audio is invalid."""

HEADER_REFUSED = frozenset({400, 431, 501})
"""Refused by the server before the application sees it."""


@dataclass(frozen=True)
class RawCase:
    """One request.

    Attributes:
        name: of its class; one class may have several cases.
        raw: every byte to send.
        expect: the statuses it may be answered with.
    """

    name: str
    raw: bytes
    expect: frozenset[int]


@dataclass
class Maker:
    """Builds requests around one boundary.

    Attributes:
        rng: source of all that varies.
        headers: sent with each request.
        audio_file: the content of the file part.
    """

    rng: random.Random
    headers: Mapping[str, str]
    audio_file: bytes

    def __post_init__(self) -> None:
        self.boundary = "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=24))

    def part(self, name: str, value: bytes, extra: bytes = b"") -> bytes:
        """Return one part."""
        return self.head(b'form-data; name="' + name.encode() + b'"' + extra) + value + b"\r\n"

    def head(self, disposition: bytes, more: bytes = b"") -> bytes:
        """Return the boundary and the header of one part."""
        return b"--" + self.boundary.encode() + b"\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n"

    def audio(self, filename: bytes = b"a.wav") -> bytes:
        """Return the part of the reference audio."""
        return self.part("audio", self.audio_file, b'; filename="' + filename + b'"')

    def text(self) -> bytes:
        """Return the part of the text."""
        return self.part("text", b"A short sentence.")

    def end(self) -> bytes:
        """Return the final boundary."""
        return b"--" + self.boundary.encode() + b"--\r\n"

    def valid(self) -> bytes:
        """Return a valid body."""
        return self.audio() + self.text() + self.end()

    def request(self, body: bytes, *, line: str = "POST /clone-voice HTTP/1.1", **changed: str | None) -> bytes:
        """Return a whole request; a header given as None is left out."""
        others = {name.replace("_", "-"): value for name, value in changed.items()}
        kind = f"multipart/form-data; boundary={self.boundary}"
        return raw_request(line, body, {"Content-Type": kind, **self.headers, **others})

    def chunked(self, body: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
        """Return the same without Content-Length, in chunks of random sizes."""
        pieces = b""
        while body:
            size = self.rng.randint(1, max(1, len(body) // 2))
            pieces += b"%x\r\n%s\r\n" % (size, body[:size])
            body = body[size:]
        return self.request(pieces + last, Transfer_Encoding="chunked", Content_Length=None)


Requests = Iterator[tuple[bytes, frozenset[int]]]


def cases(seed: int, headers: Mapping[str, str] | None = None, audio_file: bytes = b"not audio") -> list[RawCase]:
    """All cases of a seed.

    Args:
        seed: the same seed makes the same bytes.
        headers: for the key, such as `{"X-API-Key": "..."}`.
        audio_file: the file's content where the case is not about it; by default no audio.
    """
    maker = Maker(random.Random(seed), headers or {}, audio_file)
    return [RawCase(make.__name__.lstrip("_"), raw, expect) for make in CLASSES for raw, expect in make(maker)]


def _no_final_boundary(m: Maker) -> Requests:
    yield m.request(m.audio() + m.text()), REFUSED
    yield m.request(b""), REFUSED
    body = m.valid()
    for _ in range(5):
        yield m.request(body[: m.rng.randrange(len(body) - 10)]), REFUSED


def _empty_form(m: Maker) -> Requests:
    yield m.request(m.end()), REFUSED


def _repeated_parts(m: Maker) -> Requests:
    yield m.request(m.audio() + m.audio() + m.text() + m.end()), REFUSED
    yield m.request(m.audio() + m.text() + m.text() + m.end()), REFUSED
    yield m.request(m.valid()[: -len(m.end())] + m.part("seed", b"1") + m.part("seed", b"2") + m.end()), REFUSED


def _missing_parts(m: Maker) -> Requests:
    yield m.request(m.audio() + m.end()), REFUSED
    yield m.request(m.text() + m.end()), REFUSED
    yield m.request(m.part("audio", b"", b'; filename="a.wav"') + m.text() + m.end()), REFUSED


def _kinds_exchanged(m: Maker) -> Requests:
    yield m.request(m.part("audio", m.audio_file) + m.text() + m.end()), REFUSED
    yield m.request(m.audio() + m.part("text", b"hello", b'; filename="t.txt"') + m.end()), REFUSED


def _bad_utf8(m: Maker) -> Requests:
    for junk in (b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", m.rng.randbytes(8) + b"\xff"):
        yield m.request(m.audio() + m.part("text", b"caf" + junk) + m.end()), REFUSED
        yield (
            m.request(m.audio() + m.text() + m.head(b'form-data; name="x' + junk + b'"') + b"1\r\n" + m.end()),
            INVALID,
        )


def _file_names(m: Maker) -> Requests:
    names = [
        b"../../etc/passwd",
        b"a\0.wav",
        b"C:\\con",
        b"",
        b"x" * 8000,
        b"-i http:",
        b"\xf0\x9f\x92\xa9",
        b"%00",
        b"|id",
    ]
    for name in names:
        yield m.request(m.audio(name) + m.text() + m.end()), NO_AUDIO


def _part_names(m: Maker) -> Requests:
    for name in ("audio\0", "AUDIO", "audio[]", "../audio", "x" * 5000, " audio", "__proto__"):
        yield m.request(m.part(name, m.audio_file, b'; filename="a.wav"') + m.text() + m.end()), INVALID
        yield m.request(m.audio() + m.text() + m.part(name, b"1") + m.end()), INVALID


def _broken_part_headers(m: Maker) -> Requests:
    for disposition in (b"form-data", b'form-data; name=""', b"attachment", b'form-data; name="text', b"", b";;;="):
        yield m.request(m.audio() + m.head(disposition) + b"hello\r\n" + m.end()), INVALID
    nameless = m.valid().replace(b"Content-Disposition", b"X-Disposition")
    yield m.request(nameless), REFUSED
    yield (
        m.request(m.audio() + m.head(b'form-data; name="text"', b"X: " + b"y" * 100_000 + b"\r\n") + b"\r\n" + m.end()),
        INVALID,
    )
    yield m.request(m.audio() + m.head(b'form-data; name="text"', b"X: y\r\n" * 5000) + b"\r\n" + m.end()), INVALID


def _encodings_of_parts(m: Maker) -> Requests:
    for line in (b"Content-Type: text/plain; charset=utf-7", b"Content-Type: text/plain; charset=" + b"z" * 500):
        yield (
            m.request(m.audio() + m.head(b'form-data; name="text"', line + b"\r\n") + b"+AAA-\r\n" + m.end()),
            NO_AUDIO,
        )
    line = b"Content-Transfer-Encoding: base64\r\n"
    yield m.request(m.audio() + m.head(b'form-data; name="text"', line) + b"aGk=\r\n" + m.end()), NO_AUDIO


def _many_parts(m: Maker) -> Requests:
    for count in (40, 1001, 20_000):
        yield m.request(m.audio() + m.text() + m.part("x", b"") * count + m.end()), TOO_LARGE


def _large_fields(m: Maker) -> Requests:
    yield m.request(m.audio() + m.part("text", b"x" * 1_000_000) + m.end()), TOO_LARGE
    yield m.request(m.audio() + m.part("text", b"x" * 100_000) + m.end()), INVALID
    yield m.request(b"p" * 2_000_000 + m.valid()), TOO_LARGE
    yield m.request(m.audio() + m.text() + m.end() + b"e" * 100_000), NO_AUDIO | TOO_LARGE


def _too_large(m: Maker) -> Requests:
    body = m.part("audio", bytes(12_000_000), b'; filename="a.wav"') + m.text() + m.end()
    yield m.request(body), TOO_LARGE
    yield m.chunked(body), TOO_LARGE
    yield m.request(b"", Content_Length=str(10**12)), TOO_LARGE


def _boundaries(m: Maker) -> Requests:
    multipart = "multipart/form-data"
    for value in ("", "; boundary=", "; boundary=other", "; boundary=\xe9", f"; boundary={'b' * 6000}", '; boundary="'):
        yield m.request(m.valid(), Content_Type=multipart + value), REFUSED
    yield m.request(m.valid(), Content_Type=f"{multipart}; boundary=other; boundary={m.boundary}"), NO_AUDIO
    teasing = f"\r\n--{m.boundary[:-1]}".encode() * 20_000
    yield m.request(m.part("audio", teasing, b'; filename="a.wav"') + m.text() + m.end()), NO_AUDIO
    newlines = m.part("audio", b"\r\n" * 100_000 + b"\r" * 100_000, b'; filename="a.wav"')
    yield m.request(newlines + m.text() + m.end()), NO_AUDIO


def _line_endings(m: Maker) -> Requests:
    for ending in (b"\n", b"\r"):
        yield m.request(m.valid().replace(b"\r\n", ending)), NO_AUDIO


def _nested(m: Maker) -> Requests:
    line = b"Content-Type: multipart/mixed; boundary=inner\r\n"
    inner = b'--inner\r\nContent-Disposition: file; filename="a.wav"\r\n\r\nx\r\n--inner--\r\n'
    yield m.request(m.head(b'form-data; name="audio"', line) + inner + b"\r\n" + m.text() + m.end()), REFUSED


def _content_types(m: Maker) -> Requests:
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/mixed", "text/xml", "\xff/\xfe", "")
    for kind in kinds:
        yield m.request(m.valid(), Content_Type=kind), frozenset({400, 415})
    yield m.request(m.valid(), Content_Type=None), frozenset({415})


def _odd_values(m: Maker) -> Requests:
    odd = {"temperature": b"nan", "top_k": b"9" * 5000, "seed": b"-1", "max_seconds": b"1e999", "stream": b"\0"}
    for name, value in odd.items():
        yield m.request(m.audio() + m.text() + m.part(name, value) + m.end()), frozenset({422})
    yield m.request(m.audio() + m.part("text", b" \r\n\t ") + m.end()), frozenset({422})


def _lengths(m: Maker) -> Requests:
    for length in ("-1", "+5", "0x10", "1e3", "5, 5", "5,6", "\xb2", ""):
        yield m.request(m.valid(), Content_Length=length), REFUSED
    yield m.request(m.valid(), Content_Length="10"), REFUSED
    twice = m.request(m.valid()).replace(b"Content-Length", b"Content-Length: 5\r\nContent-Length", 1)
    yield twice, REFUSED


def _length_and_chunks(m: Maker) -> Requests:
    yield m.chunked(m.valid()).replace(b"\r\nTransfer", b"\r\nContent-Length: 5\r\nTransfer", 1), REFUSED


def _chunks(m: Maker) -> Requests:
    yield m.chunked(m.valid()), NO_AUDIO
    yield m.chunked(m.valid(), b"zz\r\n\r\n"), REFUSED
    yield m.chunked(m.valid(), b"-1\r\n\r\n"), REFUSED
    yield m.chunked(m.valid(), b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), NO_AUDIO | HEADER_REFUSED
    yield m.chunked(m.valid(), b"f" * 9000), REFUSED
    for encoding in ("gzip", "chunked, chunked", "identity", "xchunked"):
        body = m.request(m.valid(), Transfer_Encoding=encoding, Content_Length=None)
        yield body, HEADER_REFUSED | {415}


def _request_headers(m: Maker) -> Requests:
    yield m.request(m.valid(), X_Huge="h" * 20_000), HEADER_REFUSED
    yield m.request(m.valid(), **{f"X_{number}": "h" for number in range(200)}), HEADER_REFUSED
    yield m.request(m.valid(), X_Null="a\0b"), HEADER_REFUSED
    yield m.request(m.valid(), **{"X Space": "a"}), HEADER_REFUSED
    yield m.request(m.valid(), Expect="a-miracle"), HEADER_REFUSED | {417}


def _request_lines(m: Maker) -> Requests:
    yield m.request(m.valid(), line="POST /clone-voice?" + "q" * 5000 + " HTTP/1.1"), HEADER_REFUSED | {414}
    yield m.request(m.valid(), line="POST /clone-voice?text=a HTTP/1.1"), frozenset({422})
    yield m.request(m.valid(), line="POST /clone-voice HTTP/9.9"), HEADER_REFUSED | {505}
    yield m.request(m.valid(), line="P\0ST /clone-voice HTTP/1.1"), HEADER_REFUSED
    yield m.request(m.valid(), line="POST /clone-voice%00 HTTP/1.1"), frozenset({400, 404})
    yield m.request(m.valid(), line="DELETE /clone-voice HTTP/1.1"), frozenset({405})


def _noise(m: Maker) -> Requests:
    """Yield valid bodies with bytes changed, cut out and doubled at random."""
    anything = NO_AUDIO | TOO_LARGE
    for _ in range(60):
        body = bytearray(m.valid())
        for _ in range(m.rng.randint(1, 6)):
            at, length = m.rng.randrange(len(body)), m.rng.randint(0, 8)
            piece = m.rng.choice((m.rng.randbytes(length), bytes(body[at : at + length]) * 2, b""))
            body[at : at + length] = piece
        yield m.request(bytes(body)), anything


CLASSES: tuple[Callable[[Maker], Requests], ...] = (
    _no_final_boundary,
    _empty_form,
    _repeated_parts,
    _missing_parts,
    _kinds_exchanged,
    _bad_utf8,
    _file_names,
    _part_names,
    _broken_part_headers,
    _encodings_of_parts,
    _many_parts,
    _large_fields,
    _too_large,
    _boundaries,
    _line_endings,
    _nested,
    _content_types,
    _odd_values,
    _lengths,
    _length_and_chunks,
    _chunks,
    _request_headers,
    _request_lines,
    _noise,
)
