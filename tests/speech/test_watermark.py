"""The mark in what a synthesizer says, with the demo model.

In the speech of so small a model, the mark is found less surely than in that of people. So here what is marked is
compared with what is not; a recorded voice shows whether `detect_watermark` gives the right answer.
"""

from typing import Any

import numpy as np
import pytest

import csm
from csm.audio.encoders import FORMATS, make_encoder, wav
from csm.audio.encoders.pcm import pcm16
from csm.audio.watermark.marker import Marker
from csm.audio.watermark.perth import Perth
from csm.errors import UndecodableAudio, UnusableReference
from csm.speech.build import build
from tests import recordings
from tests.reference_audio import TRANSCRIPT, VOICE
from tests.speech.utterances import speech_settings, utterance

SAID: dict[str, Any] = {
    "text": "Hello there, and good day to you and your brother.",
    "transcript": TRANSCRIPT,
    "seed": 5,
    "max_seconds": 2.5,
}
SURER = 0.3
"""Difference between the confidences of speech with and without the mark, at least."""


@pytest.fixture(scope="module")
def synthesizers():
    """Return synthesizers with and without the mark."""
    made = {
        on: build(speech_settings(model="demo", precision="float32", device="cpu", slots=1, watermark=on))
        for on in (True, False)
    }
    yield made
    for synthesizer in made.values():
        synthesizer.close()


@pytest.fixture(scope="module")
def marked_voice():
    """Return the PCM of the recorded voice, marked as a stream is."""
    marker, voice = Marker(Perth.load()), recordings.voice()[0].samples
    return pcm16(np.concatenate([marker.process(part) for part in np.array_split(voice, len(voice) // 15_360)]))


def said(synthesizer, **given):
    """Return all PCM of an utterance, and its notes."""
    with synthesizer.reserve() as reservation:
        speech = synthesizer.speak(utterance(reference=VOICE.read_bytes(), **SAID | given), reservation, lambda: False)
        return b"".join(speech), speech.notes


def as_wav(pcm):
    return wav.header(24_000, len(pcm)) + pcm


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("speed", [1.0, 1.5])
@pytest.mark.slow
def test_all_speech_is_marked_unless_it_is_off(synthesizers, stream, speed):
    marked, notes = said(synthesizers[True], stream=stream, speed=speed)
    plain, plain_notes = said(synthesizers[False], stream=stream, speed=speed)
    assert (notes.watermark, plain_notes.watermark) == ("perth", None)
    assert len(marked) == len(plain) and marked != plain
    found, other = (synthesizers[True].detect_watermark(as_wav(pcm)) for pcm in (marked, plain))
    assert found.confidence > other.confidence + SURER and not other.marked
    assert found.seconds == pytest.approx(len(marked) / 48_000)


@pytest.mark.parametrize("on", [True, False])
def test_a_seed_gives_the_same_bytes(synthesizers, on):
    assert said(synthesizers[on])[0] == said(synthesizers[on])[0]


def test_without_the_mark_a_stream_equals_the_whole_answer(synthesizers):
    assert said(synthesizers[False], stream=True)[0] == said(synthesizers[False], stream=False)[0]


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac"])
def test_the_mark_survives_each_format(synthesizers, marked_voice, name):
    encoder = make_encoder(FORMATS[name], 24_000)
    encoded = encoder.encode(marked_voice) + encoder.finish()
    assert synthesizers[True].detect_watermark(encoded).marked


def test_health_tells_which_mark_there_is(synthesizers):
    assert synthesizers[True].status().details["watermark"] == "perth"
    assert synthesizers[False].status().details["watermark"] == "none"


def test_recordings_that_cannot_be_examined_are_refused(synthesizers):
    with pytest.raises(UndecodableAudio):
        synthesizers[True].detect_watermark(b"not audio")
    with pytest.raises(UnusableReference, match="too short"):
        synthesizers[True].detect_watermark(as_wav(bytes(2000)))


@pytest.mark.parametrize("on", [True, False])
def test_a_mark_is_looked_for_also_where_speech_is_not_marked(synthesizers, marked_voice, on):
    assert synthesizers[on].detect_watermark(as_wav(marked_voice)).marked
    assert not synthesizers[on].detect_watermark(VOICE.read_bytes()).marked


def test_the_mark_is_on_by_default(synthesizers, monkeypatch):
    monkeypatch.delenv("CSM_WATERMARK")
    with csm.load("demo", precision="float32", device="cpu", slots=1) as model:
        speech = model.say(SAID["text"], VOICE, transcript=TRANSCRIPT, seed=SAID["seed"], max_seconds=2.5)
    found = synthesizers[True].detect_watermark(as_wav(pcm16(speech.samples)))
    other = synthesizers[True].detect_watermark(as_wav(said(synthesizers[False])[0]))
    assert found.confidence > other.confidence + SURER
