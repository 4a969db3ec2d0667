"""Files that try to make the decoder read another file, open a connection, or run code that it does not need."""

import struct

from tests.corpus.case import REFUSED, UNDECODABLE, Bait, Case
from tests.corpus.ffmpeg import encode


def lures(bait: Bait) -> list[Case]:
    """Playlists, manifests and references, under the names of recordings."""
    return [Case("lure-" + name, data, filename, UNDECODABLE) for name, filename, data in _texts(bait)] + [
        Case("lure-mov-data-reference", _mov_with_reference(bait.path), "voice.m4a", REFUSED),
        Case("lure-mp3-tag-then-playlist", b"ID3\x03\0\0\0\0\0\0" + _hls(bait), "voice.mp3", UNDECODABLE),
    ]


def _texts(bait: Bait) -> list[tuple[str, str, bytes]]:
    local, remote = bait.path, f"http://127.0.0.1:{bait.port}/canary.wav"
    playlist = f"[playlist]\nFile1={local}\nFile2={remote}\nNumberOfEntries=2\n"
    asx = f'<asx version="3.0"><entry><ref href="{remote}"/></entry></asx>'
    ram = f"rtsp://127.0.0.1:{bait.port}/canary\n"
    smil = f'<smil><body><audio src="{local}"/><audio src="{remote}"/></body></smil>'
    svg = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{local}"/></svg>'
    return [
        ("hls-as-wav", "voice.wav", _hls(bait)),
        ("hls-as-playlist", "voice.m3u8", _hls(bait)),
        ("hls-with-key", "voice.mp3", _hls(bait, f'#EXT-X-KEY:METHOD=AES-128,URI="{remote}"\n')),
        ("hls-concat-protocol", "voice.wav", _hls_of(f"concat:{local}|{local}")),
        ("hls-subfile-protocol", "voice.wav", _hls_of(f"subfile,,start,0,end,99999,,:{local}")),
        ("concat-local", "voice.wav", f"ffconcat version 1.0\nfile '{local}'\n".encode()),
        ("concat-remote", "voice.ogg", f"ffconcat version 1.0\nfile '{remote}'\n".encode()),
        ("concat-without-magic", "concat.txt", f"file '{local}'\nfile '{remote}'\n".encode()),
        ("dash", "voice.mp4", _dash(local, remote)),
        ("sdp", "voice.aac", _sdp(bait.port)),
        ("pls", "voice.pls", playlist.encode()),
        ("m3u", "voice.m3u", f"{local}\n{remote}\n".encode()),
        ("asx", "voice.wma", asx.encode()),
        ("ram", "voice.ra", ram.encode()),
        ("smil", "voice.smil", smil.encode()),
        ("svg", "voice.webm", svg.encode()),
        ("path-only", "voice.wav", local.encode()),
        ("ffmetadata", "voice.flac", b";FFMETADATA1\ntitle=" + local.encode() + b"\n"),
    ]


def _hls(bait: Bait, extra: str = "") -> bytes:
    return _hls_of(f"file://{bait.path}", f"http://127.0.0.1:{bait.port}/canary.wav", extra=extra)


def _hls_of(*targets: str, extra: str = "") -> bytes:
    entries = "".join(f"#EXTINF:5,\n{target}\n" for target in targets)
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{extra}{entries}#EXT-X-ENDLIST\n".encode()


def _dash(local: str, remote: str) -> bytes:
    bases = "".join(
        f'<Representation id="{n}" mimeType="audio/wav" bandwidth="1"><BaseURL>{url}</BaseURL></Representation>'
        for n, url in enumerate((f"file://{local}", remote))
    )
    period = f'<Period><AdaptationSet contentType="audio">{bases}</AdaptationSet></Period>'
    root = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S"'
    return f'<?xml version="1.0"?>{root} profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">{period}</MPD>'.encode()


def _sdp(port: int) -> bytes:
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=audio {port} RTP/AVP 0")
    return "\r\n".join((*lines, "")).encode()


def _mov_with_reference(path: str) -> bytes:
    """Silence whose samples are said to lie in another file: its `dref` holds a path."""
    whole = encode("-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=5", "-c:a", "pcm_s16be", suffix=".mov")
    at = whole.index(b"dref") - 4
    alias = _alias(path.encode())
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    before = bytearray(whole[:at])
    after = whole[at + int.from_bytes(whole[at : at + 4], "big") :]
    growth = len(whole[:at]) + len(box) + len(after) - len(whole)
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        size = before.rindex(parent) - 4
        before[size : size + 4] = (int.from_bytes(before[size : size + 4], "big") + growth).to_bytes(4, "big")
    return bytes(before) + box + after


def _alias(path: bytes) -> bytes:
    """Return a Macintosh alias record, a reference that ffmpeg can be made to follow: names, then tagged fields."""
    absolute_path, end = 2, 0xFFFF
    padded = path + b"\0" * (len(path) % 2)
    return bytes(150) + struct.pack(">HH", absolute_path, len(padded)) + padded + struct.pack(">HH", end, 0)
