import io
import subprocess
import sys
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from csm.audio.decode import decode
from csm.audio.encoders import wav
from csm.audio.encoders.pcm import pcm16

RAMP = np.linspace(-1, 1, 24_000, dtype=np.float32)


def test_header_of_known_length_is_read_back_exactly():
    body = pcm16(RAMP)
    with wave.open(io.BytesIO(wav.header(24_000, len(body)) + body)) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, 24_000)
        assert file.readframes(24_000) == body


def test_streaming_header_plays_to_the_end_in_libsndfile_and_ffmpeg():
    stream = wav.streaming_header(24_000) + pcm16(RAMP)
    samples, rate = soundfile.read(io.BytesIO(stream), dtype="float32")
    assert rate == 24_000 and len(samples) == len(RAMP)
    assert decode(stream, 5.0).samples == pytest.approx(samples, abs=1e-4)


def test_headers_differ_in_their_sizes_only():
    known, unknown = wav.header(24_000, 1000), wav.streaming_header(24_000)
    assert len(known) == len(unknown) == wav.HEADER_BYTES
    assert unknown[4:8] == unknown[40:44] == b"\xff\xff\xff\xff"
    assert known[4:8] == (1036).to_bytes(4, "little") and known[40:44] == (1000).to_bytes(4, "little")
    assert known[:4] + known[8:40] == unknown[:4] + unknown[8:40]


def test_more_than_a_wav_file_can_hold_is_refused():
    with pytest.raises(ValueError, match="4 GiB"):
        wav.header(24_000, 2**32 - 37)


def test_pcm_is_little_endian_rounded_and_clipped():
    samples = np.array([0, 1, -1, 2, -2, 1.4 / 32767, 1.6 / 32767], np.float32)
    assert np.frombuffer(pcm16(samples), "<i2").tolist() == [0, 32767, -32767, 32767, -32767, 1, 2]


@given(arrays(np.float32, st.integers(0, 50), elements=st.floats(-1, 1, width=32)))
def test_pcm_is_within_half_a_step(samples):
    back = np.frombuffer(pcm16(samples), "<i2") / 32767
    assert np.abs(back - samples).max(initial=0) <= 0.5 / 32767 + 1e-7


def test_decoding_and_writing_do_without_torch():
    program = "import sys, csm.audio.encoders, csm.audio.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
