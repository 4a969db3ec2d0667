"""The file of a stored voice: safetensors with the audio, its codes, and what is known about the voice.

| tensor | type, shape | |
|---|---|---|
| `samples` | I16 `[samples]` | conditioned reference audio, mono, 24 kHz |
| `codes.FINGERPRINT` | I16 `[frames, codebooks]` | its codes by the codec of that fingerprint |

Everything else is text in the metadata. A file may come from a stranger: all of it is checked before it is used.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from csm.errors import InvalidRequest
from csm.speech.api import SAMPLE_RATE
from csm.speech.voices.api import MAX_TRANSCRIPT_CHARS, TranscriptSource, VoiceInfo, clean_consent, clean_name

SUFFIX = ".safetensors"
FORMAT = "csm-voice-1"

MAX_BYTES = 8_000_000
"""A minute of audio has 2.9 MB."""
MAX_HEADER_BYTES = 65_536
MAX_SECONDS = 60
MAX_CODECS, MAX_CODEBOOKS = 4, 64
CODEBOOK_SIZE = 2048
"""Entries of a codebook of Mimi; that of the demo has fewer."""
FRAME_SAMPLES = 1920

_FIELDS = ("name", "owner", "created_at", "transcript", "transcript_source", "consent", "consented_at", "report")
_LENGTH = struct.Struct("<Q")

Codes = NDArray[np.int16]


class BrokenVoice(ValueError):
    """This is not a file of a voice, or it is damaged; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class VoiceFile:
    """The content of a file.

    Attributes:
        info: what is known about the voice.
        samples: `[samples]`, 16 bits, at `SAMPLE_RATE`.
        codes: of the samples, `[frames, codebooks]`, by the fingerprint of the codec that made them.
    """

    info: VoiceInfo
    samples: NDArray[np.int16]
    codes: Mapping[str, Codes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        info = self.info
        metadata = {
            "format": FORMAT,
            "name": info.name,
            "owner": info.owner or "",
            "created_at": str(info.created_at),
            "transcript": info.transcript,
            "transcript_source": info.transcript_source,
            "consent": info.consent,
            "consented_at": str(info.consented_at),
            "report": json.dumps(info.report),
        }
        tensors = {"samples": self.samples} | {f"codes.{codec}": codes for codec, codes in self.codes.items()}
        return safetensors.numpy.save(tensors, metadata)

    @classmethod
    def from_bytes(cls, content: bytes, voice_id: str) -> "VoiceFile":
        """Read a file.

        Raises:
            BrokenVoice: it is no such file.
        """
        info = parse_info(content[: _LENGTH.size + MAX_HEADER_BYTES], len(content), voice_id)
        try:
            tensors = safetensors.numpy.load(content)
        except SafetensorError:
            raise BrokenVoice("its tensors are damaged") from None
        codes = {name.removeprefix("codes."): values for name, values in tensors.items() if name != "samples"}
        if any(values.min() < 0 or values.max() >= CODEBOOK_SIZE for values in codes.values()):
            raise BrokenVoice("its codes are out of range")
        return cls(info, tensors["samples"], codes)


def read_info(path: Path) -> VoiceInfo:
    """Return what the header of a file says; the voice's id is the name of the file.

    Raises:
        BrokenVoice: it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return parse_info(file.read(_LENGTH.size + MAX_HEADER_BYTES), path.stat().st_size, path.stem)


def parse_info(head: bytes, size: int, voice_id: str) -> VoiceInfo:
    """Return what a header says.

    Args:
        head: the first bytes of the file, with all of the header.
        size: of the whole file, in bytes.
        voice_id: of the voice.

    Raises:
        BrokenVoice: the header is wrong, or does not match the size of the file.
    """
    if size > MAX_BYTES:
        raise BrokenVoice(f"it has more than {MAX_BYTES / 1e6:g} MB")
    header, start = _header(head)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise BrokenVoice("it is not a voice, or one of a newer version")
    seconds = _check_tensors(header, size - start)
    if any(not isinstance(metadata.get(name), str) for name in _FIELDS):
        raise BrokenVoice("a field of its metadata is missing")
    return _info(metadata, voice_id, seconds)


def _header(head: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and where it ends."""
    if len(head) < _LENGTH.size:
        raise BrokenVoice("it is empty or truncated")
    (length,) = _LENGTH.unpack_from(head)
    if not 2 <= length <= MAX_HEADER_BYTES or len(head) < _LENGTH.size + length:
        raise BrokenVoice("its header is too large or truncated")
    try:
        header = json.loads(head[_LENGTH.size : _LENGTH.size + length], object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise BrokenVoice("its header is damaged") from None
    if not isinstance(header, dict):
        raise BrokenVoice("its header is damaged")
    return header, _LENGTH.size + length


def _check_tensors(tensors: dict[str, Any], size: int) -> float:
    """Check names, types and shapes; return the duration of the audio in seconds."""
    if len(tensors) > 1 + MAX_CODECS or "samples" not in tensors:
        raise BrokenVoice("it has other tensors than a voice")
    shapes = {name: _shape(tensor) for name, tensor in tensors.items()}
    if sum(2 * math.prod(shape) for shape in shapes.values()) != size:
        raise BrokenVoice("its size does not match its header")
    samples, *more = shapes.pop("samples")
    if more or not SAMPLE_RATE <= samples <= MAX_SECONDS * SAMPLE_RATE:
        raise BrokenVoice("its audio is too short or too long")
    frames = -(-samples // FRAME_SAMPLES)
    for name, shape in shapes.items():
        if not name.startswith("codes.") or len(shape) != 2 or shape[0] != frames or shape[1] > MAX_CODEBOOKS:
            raise BrokenVoice("its codes do not match its audio")
    return samples / SAMPLE_RATE


def _shape(tensor: object) -> list[int]:
    shape = tensor.get("shape") if isinstance(tensor, dict) and tensor.get("dtype") == "I16" else None
    if not isinstance(shape, list) or not shape or not all(type(length) is int and length > 0 for length in shape):
        raise BrokenVoice("a tensor has another type or shape than in a voice")
    return shape


def _info(metadata: dict[str, str], voice_id: str, seconds: float) -> VoiceInfo:
    try:
        report = json.loads(metadata["report"])
        json.dumps(report, allow_nan=False)  # raises for what is no JSON
        transcript = metadata["transcript"]
        if not isinstance(report, dict) or metadata["transcript_source"] not in get_args(TranscriptSource):
            raise BrokenVoice("a field of its metadata is of another type")
        if len(transcript) > MAX_TRANSCRIPT_CHARS:
            raise BrokenVoice("its transcript is too long")
        return VoiceInfo(
            id=voice_id,
            name=clean_name(metadata["name"]),
            created_at=_time(metadata["created_at"]),
            owner=metadata["owner"] or None,
            seconds=round(seconds, 2),
            transcript=transcript,
            transcript_source=cast(TranscriptSource, metadata["transcript_source"]),
            consent=clean_consent(metadata["consent"]),
            consented_at=_time(metadata["consented_at"]),
            report=report,
        )
    except BrokenVoice:
        raise
    except (ValueError, RecursionError, InvalidRequest):
        raise BrokenVoice("a field of its metadata is out of range") from None


def _time(text: str) -> int:
    """Return a Unix time; at most 11 digits, which end in the year 5138."""
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise BrokenVoice("a time in its metadata is no number")
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse names that occur twice: the reader of the tensors might take another one."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is repeated")
    return dict(pairs)
