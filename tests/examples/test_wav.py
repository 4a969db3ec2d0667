"""The WAV reader and writer of the Next.js example, run by Node.js on files that are cut anywhere."""

import base64
import io
import json
import struct
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.examples.nextjs_app import APP, NODE

SAMPLES = np.random.default_rng(0).integers(-(2**15), 2**15, 500, dtype="<i2")
STREAMED = 0xFFFFFFFF
LIST = b"LIST\x05\x00\x00\x00INFO!\x00"
"""A chunk of odd size, which is padded."""


def format_chunk(channels: int = 1, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    return struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, 24_000, 24_000 * frame, frame, bits)


FORMAT = format_chunk()


def wav(*chunks: bytes, samples: bytes = SAMPLES.tobytes()) -> bytes:
    head = b"".join(chunks) + struct.pack("<4sI", b"data", STREAMED)
    return struct.pack("<4sI4s", b"RIFF", STREAMED, b"WAVE") + head + samples


def read(folder, content: bytes, *sizes: int):
    """Return what the example makes of a file that arrives in pieces of each size."""
    (folder / "in.wav").write_bytes(content)
    script = Path(__file__).with_name("wav.mjs")
    command = [NODE, script, APP / "lib" / "wav.ts", folder / "in.wav", *sizes]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("chunks", [(FORMAT,), (LIST, FORMAT), (FORMAT, LIST)], ids=["plain", "before", "after"])
def test_the_samples_survive_cuts_anywhere(tmp_path, chunks):
    for answer in read(tmp_path, wav(*chunks), 1, 2, 3, 7, 44, 45, 101, 10_000):
        with wave.open(io.BytesIO(base64.b64decode(answer["wav"]))) as written:
            assert written.getparams()[:4] == (1, 2, 24_000, 500)
            assert written.readframes(500) == SAMPLES.tobytes()


def test_half_a_sample_at_the_end_is_dropped(tmp_path):
    [answer] = read(tmp_path, wav(FORMAT) + b"!", 64)
    assert base64.b64decode(answer["wav"])[44:] == SAMPLES.tobytes()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<!doctype html>", "The answer is not a WAV file."),
        (wav(format_chunk(bits=8)), "The answer is not 16-bit mono PCM."),
        (wav(format_chunk(channels=2)), "The answer is not 16-bit mono PCM."),
    ],
    ids=["html", "8 bits", "stereo"],
)
def test_another_format_is_refused(tmp_path, content, error):
    assert read(tmp_path, content, 5) == [{"error": error}]
