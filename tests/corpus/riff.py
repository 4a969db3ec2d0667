"""WAV files whose headers lie, and sound that no model should hear."""

import struct

import numpy as np

from tests.corpus.case import ANY, OK, REFUSED, UNDECODABLE, UNUSABLE, Case

RATE = 16_000
_EXTENSIBLE = 0xFFFE
_NONSENSE = struct.pack("<HHI16s", 22, 16, 0, b"?" * 16)
_NONSENSE = struct.pack("<HHI16s", 22, 16, 0, b"?" * 16)


def wav(
    body: bytes,
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
    riff_size: int | None = None,
    data_size: int | None = None,
    extra: bytes = b"",
    before_data: bytes = b"",
) -> bytes:
    """Return a WAV file of `body` in which every field may be wrong."""
    align = channels * bits // 8 if align is None else align
    fields = (tag, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    form = struct.pack("<HHIIHH", *fields) + extra
    data = struct.pack("<4sI", b"data", len(body) if data_size is None else data_size) + body
    content = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + before_data + data
    return struct.pack("<4sI", b"RIFF", len(content) if riff_size is None else riff_size) + content


def floats(samples: "np.typing.ArrayLike") -> bytes:
    """Return a 32-bit float WAV file."""
    return wav(np.asarray(samples, "<f4").tobytes(), tag=3, bits=32)


def lying_headers(speech: np.ndarray) -> list[Case]:
    """`speech`, 16-bit, under headers that do not fit it."""
    body = speech.astype("<i2").tobytes()
    made = {
        "rate-0": (wav(body, rate=0), UNDECODABLE),
        "rate-1": (wav(body, rate=1), UNDECODABLE),
        "rate-100": (wav(body, rate=100), UNDECODABLE),
        "rate-2^31-1": (wav(body, rate=2**31 - 1), UNDECODABLE),
        "rate-2^32-1": (wav(body, rate=2**32 - 1), UNDECODABLE),
        "rate-prime": (wav(body, rate=191_999), REFUSED),
        "channels-0": (wav(body, channels=0), UNDECODABLE),
        "channels-256": (wav(body, channels=256), REFUSED),
        "channels-65535": (wav(body, channels=65_535), REFUSED),
        "bits-0": (wav(body, bits=0), REFUSED),
        "bits-255": (wav(body, bits=255), REFUSED),
        "align-0": (wav(body, align=0), ANY),
        "align-65535": (wav(body, align=65_535), ANY),
        "data-size-zero": (wav(body, data_size=0), ANY),
        "data-size-max": (wav(body, data_size=0xFFFFFFFF), OK),
        "data-size-twice": (wav(body, data_size=2 * len(body)), OK),
        "data-size-half": (wav(body, data_size=len(body) // 2), OK),
        "riff-size-zero": (wav(body, riff_size=0), OK),
        "riff-size-max": (wav(body, riff_size=0xFFFFFFFF), OK),
        "chunk-beyond-end": (wav(body, before_data=struct.pack("<4sI", b"LIST", 0x7FFFFFFF)), REFUSED),
        "thousand-chunks": (wav(body, before_data=struct.pack("<4sI", b"junk", 0) * 1000), OK),
        "format-after-data": (b"RIFF\xff\xff\xff\xffWAVE" + wav(body)[36:] + wav(b"")[12:36], ANY),
        "extensible-nonsense": (
            wav(body, tag=_EXTENSIBLE, extra=_NONSENSE),
            REFUSED,
        ),
        "codec-unknown": (wav(body, tag=0x7777), UNDECODABLE),
        "codec-forbidden": (wav(body, tag=0x0161), UNDECODABLE),
        "codec-mp3-of-pcm": (wav(body, tag=0x0055), REFUSED),
        "adpcm-align-1": (wav(body, tag=2, bits=4, align=1), REFUSED),
        "header-only": (wav(b""), UNDECODABLE),
        "half-a-header": (wav(body)[:30], UNDECODABLE),
        "one-sample": (wav(body[:2]), UNUSABLE),
    }
    return [Case("wav-" + name, data, "voice.wav", expect) for name, (data, expect) in made.items()]


def unusable_sound(speech: np.ndarray, rng: np.random.Generator) -> list[Case]:
    """Files in perfect order whose content is no voice."""
    level = (speech / 32768).astype(np.float32)
    spoilt = level.copy()
    spoilt[rng.integers(len(level), size=5)] = np.nan
    infinite = np.where(np.arange(len(level)) == rng.integers(len(level)), np.inf, level)
    spike = np.where(np.arange(len(level)) == 5_000, np.float32(1e38), level)
    made = {
        "silence": (floats(np.zeros(5 * RATE)), UNUSABLE),
        "almost-silence": (floats(1e-5 * rng.standard_normal(5 * RATE)), UNUSABLE),
        "offset-only": (floats(np.full(5 * RATE, 0.5)), UNUSABLE),
        "one-click": (floats(np.eye(1, 5 * RATE, 999)[0]), UNUSABLE),
        "nan": (floats(np.full(5 * RATE, np.nan)), UNUSABLE),
        "nan-in-speech": (floats(spoilt), UNUSABLE),
        "infinite": (floats(infinite), UNUSABLE),
        "spike-1e38": (floats(spike), UNUSABLE),
        "speech-at-1e38": (floats(level / np.abs(level).max() * 1e38), OK),
        "denormal": (floats(np.full(5 * RATE, 1e-42)), UNUSABLE),
        "too-short": (floats(level[: RATE // 4]), UNUSABLE),
        "mostly-silence": (floats(np.pad(level[: RATE // 4], (0, 10 * RATE))), UNUSABLE),
        "clipped": (floats(np.clip(30 * level, -1, 1)), UNUSABLE),
        "square-wave": (floats(np.sign(np.sin(np.arange(5 * RATE) * 0.1))), UNUSABLE),
        "quiet-speech": (floats(0.01 * level), OK),
        "speech-with-offset": (floats(level + 0.4), OK),
        "long-pauses-around": (floats(np.pad(level, 2 * RATE)), OK),
        "forty-seconds": (floats(np.tile(level, 8)), OK),
    }
    return [Case("sound-" + name, data, "voice.wav", expect) for name, (data, expect) in made.items()]
