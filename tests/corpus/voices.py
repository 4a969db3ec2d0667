"""Files of stored voices, whole and damaged; made from a seed, nothing is copied."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors.numpy

from csm.speech.voices.api import VoiceInfo
from csm.speech.voices.file import VoiceFile

INFO = VoiceInfo(
    id="",
    name="Ann",
    created_at=1_700_000_000,
    owner="alice",
    seconds=2.0,
    transcript="Heard before.",
    transcript_source="given",
    consent="I am the speaker.",
    consented_at=1_700_000_000,
    report={"seconds": 2.0, "recordings": [], "warnings": []},
)


def voice_file(seed: int = 0, seconds: float = 2.0, codec: str = "c0", **info: Any) -> VoiceFile:
    """Return a voice whose audio passes for speech."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 24_000)) / 24_000
    bursts = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) ** 2
    samples = np.round(6000 * bursts * rng.standard_normal(len(time))).clip(-30_000, 30_000).astype(np.int16)
    codes = rng.integers(0, 64, (-(-len(samples) // 1920), 4)).astype(np.int16)
    return VoiceFile(replace(INFO, seconds=seconds, **info), samples, {codec: codes})


def damaged(seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files that are no voices, though some are nearly."""
    whole = voice_file(seed).to_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    samples, codes = np.frombuffer(whole[-96_000:], "<i2").copy(), np.zeros((25, 4), np.int16)

    def rebuilt(change: dict[str, Any], data: bytes = body) -> bytes:
        """Return a file with parts of its header replaced, or removed where the replacement is None."""
        changed = {name: value for name, value in (header | change).items() if value is not None}
        encoded = json.dumps(changed).encode()
        return struct.pack("<Q", len(encoded)) + encoded + data

    def saved(**tensors: Any) -> bytes:
        """Return a valid safetensors file with these tensors."""
        return safetensors.numpy.save(tensors, header["__metadata__"])

    def told(**fields: Any) -> bytes:
        metadata = {name: value for name, value in (header["__metadata__"] | fields).items() if value is not None}
        return rebuilt({"__metadata__": metadata})

    yield "empty", b""
    yield "text", b"Words, no voice."
    yield "a recording", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
    for keep in (4, 8, 100, 8 + length, len(whole) - 1):
        yield f"truncated at {keep}", whole[:keep]
    yield "followed by more", whole + b"\0"
    for size in (2**63, 2**40, 2**31, len(whole), length - 1, length + 1, 0):
        yield f"a header of {size} bytes", struct.pack("<Q", size) + whole[8:]
    yield "a huge header", struct.pack("<Q", 1_000_000) + b" " * 1_000_000 + body
    yield "a header of brackets", struct.pack("<Q", 60_000) + b"[" * 60_000 + body
    yield "a header that is a list", struct.pack("<Q", 2) + b"[]" + body
    yield "a header in Latin-1", whole[:8] + whole[8 : 8 + length].replace(b"Ann", b"\xe9\xe9\xe9") + body
    twice = json.dumps(header)[:-1] + f', "samples": {json.dumps(header["samples"])}}}'
    yield "a name twice", struct.pack("<Q", len(twice)) + twice.encode() + body
    yield "no metadata", rebuilt({"__metadata__": None})
    yield "metadata of a list", rebuilt({"__metadata__": []})
    yield "no samples", rebuilt({"samples": None})
    for shape in (
        [2**62],
        [2**31, 2**31],
        [-48_000],
        [0],
        [],
        [48_000.0],
        "48000",
        [1, 48_000],
        [True],
        None,
        [10**400],
    ):
        yield f"samples of shape {str(shape)[:20]}", rebuilt({"samples": header["samples"] | {"shape": shape}})
    for offsets in ([0, 10], [-1, 96_000], [0, 2**63], [96_000, 0], "0", [0]):
        yield f"samples at {offsets}", rebuilt({"samples": header["samples"] | {"data_offsets": offsets}})
    for dtype in ("F32", "I64", "BOOL", "X", 16, None):
        yield f"samples of type {dtype}", rebuilt({"samples": header["samples"] | {"dtype": dtype}})
    yield "samples that are no numbers", saved(samples=np.full(48_000, np.nan, np.float32))
    yield "float samples", saved(samples=samples.astype(np.float32), **{"codes.c0": codes})
    yield "half a second", saved(samples=samples[:12_000])
    yield "two minutes", saved(samples=np.tile(samples, 60))
    yield "codes below zero", saved(samples=samples, **{"codes.c0": codes - 1})
    yield "codes out of range", saved(samples=samples, **{"codes.c0": codes + 2048})
    yield "codes of another length", saved(samples=samples, **{"codes.c0": codes[:-1]})
    yield "too many codebooks", saved(samples=samples, **{"codes.c0": np.zeros((25, 65), np.int16)})
    yield "codes in one row", saved(samples=samples, **{"codes.c0": codes[:, 0].copy()})
    yield "many codecs", saved(samples=samples, **{f"codes.{number}": codes for number in range(5)})
    yield "another tensor", saved(samples=samples, weights=codes)
    yield "another format", told(format="csm-voice-2")
    for name in ("name", "transcript", "transcript_source", "consent", "consented_at", "created_at", "report", "owner"):
        yield f"no {name}", told(**{name: None})
        yield f"{name} that is a number", told(**{name: 5})
    for name in ("", " ", "a/b", "../etc", "a\nb", "a\x00b", "x" * 65, "\u202eAnn", "voice_" + "0" * 32, "\ud800"):
        yield f"the name {name!r}", told(name=name)
    for consent in ("", "false", "no", "x" * 501, "I\x00agree"):
        yield f"the consent {consent[:10]!r}", told(consent=consent)
    for moment in ("", "-1", "1e9", "nan", "9" * 5000, "\u0661"):
        yield f"the time {moment[:10]!r}", told(created_at=moment)
    for report in ("", "[]", '{"seconds": NaN}', "{" * 5000, '{"a": 1e999}', "null"):
        yield f"the report {report[:20]!r}", told(report=report)
    yield "a transcript that is too long", told(transcript="word " * 1000)
    yield "a source of another kind", told(transcript_source="guessed")
