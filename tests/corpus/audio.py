"""Every class of audio upload, good and bad."""

import gzip

import numpy as np

from tests.corpus.bombs import bombs
from tests.corpus.case import ANY, REFUSED, UNDECODABLE, Bait, Case
from tests.corpus.ffmpeg import encode, piped
from tests.corpus.lures import lures
from tests.corpus.riff import RATE, lying_headers, unusable_sound
from tests.corpus.valid import valid


def cases(seed: int, bait: Bait | None = None) -> list[Case]:
    """One upload of each class.

    Args:
        seed: of what is random in them.
        bait: what the lures point at; by default nothing that exists.
    """
    rng = np.random.default_rng(seed)
    speech = _samples()
    return [
        *valid(),
        *lying_headers(speech),
        *unusable_sound(speech, rng),
        *lures(bait or Bait()),
        *bombs(),
        *_not_audio(rng),
        *_other_media(),
        *_cut_off(rng),
    ]


def _samples() -> np.ndarray:
    raw = encode("-ar", str(RATE), "-f", "s16le", suffix=".raw")
    return np.frombuffer(raw, "<i2")


def _not_audio(rng: np.random.Generator) -> list[Case]:
    page = b"<!doctype html><title>404</title><p>Not found"
    made = {
        "empty": ("voice.wav", b""),
        "one-byte": ("voice.wav", b"R"),
        "text": ("voice.wav", b"This is not a recording.\n" * 50),
        "text-utf-16": ("voice.mp3", "Das ist keine Aufnahme. ".encode("utf-16") * 50),
        "html": ("voice.webm", page),
        "json": ("voice.webm", b'{"audio": null}'),
        "data-url": ("voice.webm", b"data:audio/webm;base64,GkXfo59ChoEBQveBAULygQRC84EIQoKEd2VibUKHgQRChYECGFOAZwE="),
        "random": ("voice.mp3", rng.bytes(100_000)),
        "zeros": ("voice.wav", bytes(1_000_000)),
        "ones": ("voice.mp3", b"\xff" * 100_000),
        "program": ("voice.wav", b"\x7fELF\x02\x01\x01" + rng.bytes(5000)),
        "zip": ("voice.zip", b"PK\x03\x04" + rng.bytes(5000)),
        "gzip": ("voice.wav.gz", gzip.compress(encode(suffix=".wav"), mtime=0)),
        "pdf": ("voice.pdf", b"%PDF-1.7\n" + rng.bytes(5000)),
        "midi": ("voice.mid", b"MThd\0\0\0\x06\0\0\0\x01\0\x60MTrk\0\0\0\x04\0\xff\x2f\0"),
        "module": ("voice.mod", bytes(1080) + b"M.K." + rng.bytes(20_000)),
        "subtitles": ("voice.srt", b"1\n00:00:00,000 --> 00:00:05,000\nHello\n"),
    }
    # Bytes at random may hold a valid mp3 frame or two: no sound worth the name, but a decoder may find some.
    loose = {"random", "ones", "zeros"}
    return [
        Case("not-" + name, data, filename, REFUSED if name in loose else UNDECODABLE)
        for name, (filename, data) in made.items()
    ]


def _other_media() -> list[Case]:
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=2")
    made = {
        "video-without-sound.mp4": (*picture, "-c:v", "mpeg4"),
        "video-without-sound.webm": (*picture, "-c:v", "libvpx"),
        "image.png": (*picture, "-frames:v", "1"),
        "image.jpg": (*picture, "-frames:v", "1"),
        "image.gif": picture,
        "sound.avi": ("-i", "SOURCE", "-c:a", "pcm_s16le"),
        "sound.ts": ("-i", "SOURCE", "-c:a", "aac"),
        "sound.wma": ("-i", "SOURCE", "-c:a", "wmav2"),
        "wavpack.mka": ("-i", "SOURCE", "-c:a", "wavpack"),
    }
    return [
        Case("media-" + name, encode("-nostdin", *o, suffix=name[name.index(".") :]), name, UNDECODABLE)
        for name, o in made.items()
    ]


def _cut_off(rng: np.random.Generator) -> list[Case]:
    webm, mp4 = piped("-c:a", "libopus", "-f", "webm"), encode("-c:a", "aac", suffix=".m4a")
    flac = encode(suffix=".flac")
    at = rng.uniform(0.3, 0.7)
    return [
        Case("cut-webm-header", webm[:40], "voice.webm", UNDECODABLE),
        Case("cut-webm-no-packet", webm[: webm.index(b"\x1f\x43\xb6\x75")], "voice.webm", UNDECODABLE),
        Case("cut-webm-early", webm[: len(webm) // 12], "voice.webm", REFUSED),
        Case("cut-webm-middle", webm[: int(at * len(webm))], "voice.webm", ANY),
        Case("cut-webm-head-missing", webm[len(webm) // 2 :], "voice.webm", REFUSED),
        Case("cut-m4a-index-missing", mp4[: int(at * len(mp4))], "voice.m4a", UNDECODABLE),
        Case("cut-m4a-head-missing", mp4[len(mp4) // 2 :], "voice.m4a", REFUSED),
        Case("cut-flac-header", flac[:42], "voice.flac", UNDECODABLE),
        Case("cut-flac-middle", flac[: int(at * len(flac))], "voice.flac", ANY),
        Case("cut-two-files-joined", webm + encode(suffix=".mp3"), "voice.webm", ANY),
    ]
