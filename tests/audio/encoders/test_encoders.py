"""Each format is decoded again by ffmpeg, in a process, and by libsndfile where it reads the format."""

import io
import itertools
import subprocess

import numpy as np
import psutil
import pytest
import soundfile

from csm.audio.condition import condition
from csm.audio.decode import decode, ffmpeg_path
from csm.audio.encoders import FORMATS, make_encoder
from csm.audio.encoders.pcm import pcm16
from tests.paths import ROOT

RATE = 24_000
FRAME = {"mp3": 576, "opus": 480, "aac": 1024, "flac": 480}
"""Samples in a frame of each codec, at 24 kHz."""
MUST_BE_EXACT = ("wav", "opus", "flac", "pcm")
CHUNK = 1800
"""Samples in the first chunk of a stream."""

# Samples in chunks of odd sizes, the sizes of the server, and everything at once.
SIZES = {"odd": (1, 479, 7, 1023, 1801, 0, 333), "server": (CHUNK, 1920, 3840, 15_360), "one": (10**6,)}


@pytest.fixture(scope="module")
def speech():
    """Return four seconds of speech, and an odd number of samples, as 16-bit integers."""
    whole = condition(decode((ROOT / "examples" / "voice.webm").read_bytes(), 30.0), 30.0)
    return np.frombuffer(pcm16(whole.samples[: 4 * RATE + 77]), "<i2")


def pieces(name, samples, sizes=SIZES["server"], streamed=True):
    """Return the outputs of an encoder, the last one being that of `finish`."""
    encoder = make_encoder(FORMATS[name], RATE, streamed=streamed)
    made, at = [], 0
    for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
        if at >= len(samples):
            break
        made.append(encoder.encode(samples[at : at + size].tobytes()))
        at += size
    made.append(encoder.finish())
    encoder.close()
    return made


def decoded(name, data):
    """Return the samples that ffmpeg decodes, as 16-bit integers at 24 kHz."""
    # Raw PCM and the few frames of a very short sound are not recognised by themselves.
    source = {"pcm": ["-f", "s16le", "-ar", str(RATE), "-ac", "1"], "aac": ["-f", "aac"], "mp3": ["-f", "mp3"]}.get(
        name, []
    )
    command = [ffmpeg_path(), "-v", "error", *source, "-i", "-", "-ar", str(RATE), "-f", "s16le", "-"]
    made = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    assert not made.stderr
    return np.frombuffer(made.stdout, "<i2")


def likeness(original, copy):
    """Return the correlation of a copy with the original at the best shift, and that shift."""
    size = 2 ** int(np.ceil(np.log2(len(original) + len(copy))))
    one, other = np.fft.rfft(original.astype(float), size), np.fft.rfft(copy.astype(float), size)
    products = np.fft.irfft(np.conj(one) * other, size)
    shift = int(np.argmax(products))
    return products[shift] / np.sqrt(
        np.square(original.astype(float)).sum() * np.square(copy.astype(float)).sum()
    ), shift


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_encoded_is_decoded_by_ffmpeg(name, sizes, streamed, speech):
    back = decoded(name, b"".join(pieces(name, speech, sizes, streamed)))
    if name in MUST_BE_EXACT or (name == "mp3" and not streamed):
        assert len(back) == len(speech)
    else:
        assert 0 <= len(back) - len(speech) <= 2 * FRAME[name]
    if name in ("wav", "flac", "pcm"):
        assert (back == speech).all()
        return
    match, shift = likeness(speech, back)
    assert match > 0.97
    assert shift <= (2 if name == "opus" or (not streamed and name == "mp3") else 2 * FRAME[name])


# libsndfile reads no AAC, and no FLAC of unknown length.
@pytest.mark.parametrize(
    ("name", "streamed"),
    [("wav", True), ("wav", False), ("mp3", True), ("mp3", False), ("opus", True), ("opus", False), ("flac", False)],
)
def test_what_is_encoded_is_decoded_by_libsndfile(name, streamed, speech):
    samples, rate = soundfile.read(io.BytesIO(b"".join(pieces(name, speech, streamed=streamed))))
    assert rate == RATE
    if name == "mp3":
        assert 0 <= len(samples) - len(speech) <= 2 * FRAME[name]
    else:
        assert len(samples) == len(speech)
    assert likeness(speech, samples)[0] > 0.97


@pytest.mark.parametrize("name", FRAME)
@pytest.mark.parametrize("samples", [1, 100, 577, 2500])
def test_a_short_sound_is_not_lost(name, samples, speech):
    assert len(decoded(name, b"".join(pieces(name, speech[:samples])))) >= samples - (name == "opus")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_no_audio_gives_a_header_at_most(name, streamed):
    made = b"".join(pieces(name, np.zeros(0, "<i2"), streamed=streamed))
    assert len(made) <= 250
    if name in ("wav", "flac"):
        assert len(decoded(name, made)) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_output_leaves_within_two_frames_of_the_codec(name, speech):
    made = pieces(name, speech, (FRAME.get(name, 1),))
    assert made[2]
    # LAME once falls back by a further frame.
    assert all(one or other for one, other in itertools.pairwise(made[2:]))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "aac"])
def test_the_first_chunk_of_a_stream_gives_output(name, speech):
    assert pieces(name, speech)[0]


def test_a_file_that_is_not_streamed_tells_its_length(speech):
    flac = b"".join(pieces("flac", speech, streamed=False))
    assert soundfile.info(io.BytesIO(flac)).frames == len(speech)
    streaminfo = flac[8:42]
    assert int.from_bytes(streaminfo[10:18], "big") & (2**36 - 1) == len(speech)
    assert any(streaminfo[18:34])  # the MD5 of the samples
    assert b"Info" in b"".join(pieces("mp3", speech, streamed=False))[:200]
    assert int.from_bytes(b"".join(pieces("flac", speech))[18:26], "big") & (2**36 - 1) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_audio_gives_the_same_bytes(name, speech):
    assert pieces(name, speech) == pieces(name, speech)


@pytest.mark.parametrize("name", FRAME)
def test_abandoned_encoders_release_their_memory(name, speech):
    def abandon(count):
        for _ in range(count):
            encoder = make_encoder(FORMATS[name], RATE)
            encoder.encode(speech[:CHUNK].tobytes())
            encoder.close()
            encoder.close()

    abandon(20)
    before = psutil.Process().memory_info().rss
    abandon(500)
    # An encoder has 38 kB (Opus) to 7 MB (FLAC).
    assert psutil.Process().memory_info().rss - before < 500 * 30_000
