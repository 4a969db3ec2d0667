"""The speaker encoder tells voices apart and teaches the decoder, if its package is installed."""

import importlib.util
from pathlib import Path

import pytest
import torch

from recipes.demo_model import pairs, speech, voices
from recipes.demo_model.architecture import SAMPLES_PER_FRAME, CodecSize
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.coded import CodedSounds
from recipes.demo_model.recordings import Recording
from recipes.demo_model.resize import new_codec
from recipes.demo_model.sounds import Sounds
from recipes.demo_model.speakers import PACKAGE, WIDTH, SpeakerEncoder

pytestmark = pytest.mark.slow  # as all tests that need the packages of requirements-quality.txt
HELD_OUT = Path(__file__).parents[1] / "quality" / "data"


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed")
    return SpeakerEncoder()


def test_sentences_of_one_speaker_are_alike(encoder: SpeakerEncoder) -> None:
    sentences = speech.read_index(HELD_OUT)
    with torch.inference_mode():
        places = torch.cat([encoder(torch.from_numpy(speech.load(one))[None]) for one in sentences])
    torch.testing.assert_close(places.norm(dim=1), torch.ones(len(places)))
    same = torch.tensor([[one.speaker == other.speaker for other in sentences] for one in sentences])
    alike, itself = places @ places.T, torch.eye(len(places), dtype=torch.bool)
    assert alike[same & ~itself].mean() > alike[~same].mean() + 0.2


def test_the_difference_moves_the_decoded_sound_only(encoder: SpeakerEncoder) -> None:
    real, made = (torch.from_numpy(speech.load(one))[None, :24_000] for one in speech.read_index(HELD_OUT)[::6][:2])
    made = made.clone().requires_grad_()
    with torch.no_grad():
        wanted = encoder(real)
    difference = encoder.difference(made, wanted)
    difference.backward()
    assert 0.1 < difference < 1.5 and made.grad is not None and made.grad.abs().max() > 0
    assert encoder.difference(real, wanted) < 1e-5
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_code_sounds_like_its_speaker(encoder: SpeakerEncoder) -> None:
    sentences = speech.read_index(HELD_OUT)
    codes = {speaker: 2 * number for number, speaker in enumerate(speech.by_speaker(sentences))}
    known = encoder.of_codes(sentences, codes)
    assert known.shape == (max(codes.values()) + 1, WIDTH) and not known[1].any()
    with torch.inference_mode():
        last = {one.speaker: encoder(torch.from_numpy(speech.load(one))[None])[0] for one in sentences}
    assert all(int((known @ place).argmax()) == codes[speaker] for speaker, place in last.items())


def test_speakers_get_places_by_what_it_hears(encoder: SpeakerEncoder) -> None:
    size = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64, code_width=8)
    codec, sentences = new_codec(0, size), speech.read_index(HELD_OUT)
    prepared = voices.prepare(codec, sentences, [1.0])
    torch.testing.assert_close(prepared["features"][1], encoder.of_one(speech.load(sentences[1])))
    found = voices.voices_of(codec, prepared, len(prepared["names"]))
    assert len(set(found.codes.values())) == len({one.speaker for one in sentences})


def test_other_speakers_have_no_codes_of_their_own(encoder: SpeakerEncoder) -> None:
    size = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64, code_width=8)
    codec, sentences = new_codec(0, size), speech.read_index(HELD_OUT)
    other = sentences[0].speaker
    own, others = ([one for one in sentences if (one.speaker == other) == is_other] for is_other in (False, True))
    found = voices.voices_of(codec, voices.prepare(codec, own, [1.0], others), 3)
    codes = dict(found.codes)
    assert len(found.before) == len(sentences) and codes.pop(other) in codes.values()
    assert len(set(codes.values())) == len(codes) == 3


def test_the_codec_learns_from_it(encoder: SpeakerEncoder) -> None:
    recordings = [Recording(speech.load(one)) for one in speech.read_index(HELD_OUT)[:2]]
    size = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=16, code_width=8)
    sounds, weights = Sounds(recordings, torch.device("cpu")), []
    for likeness in (0.0, 1.0):
        plan = Plan(batch=2, frames=8, steps=4, phonetic=0.0, likeness=likeness)
        trainer = CodecTrainer(new_codec(0, size), plan, torch.device("cpu"))
        parts = [trainer.step(step, sounds) for step in range(2)]
        assert all(("likeness" in part) == bool(likeness) for part in parts)
        weights.append(trainer.codec.decoder.decoder_seanet.layers[0].conv.weight)
    assert not torch.equal(*weights)


def test_a_clip_with_a_code_should_sound_like_the_speaker_of_the_code(encoder: SpeakerEncoder) -> None:
    size = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64, code_width=8)
    codec = new_codec(0, size)
    pairs.install(codec)
    samples = torch.from_numpy(speech.load(speech.read_index(HELD_OUT)[0]))[: 10 * SAMPLES_PER_FRAME]
    rows = ((samples * 32767).short(), torch.tensor([[1, 3]] * 10).short(), torch.tensor([10]))
    sounds, known = CodedSounds(*rows, device=torch.device("cpu")), torch.zeros(4, WIDTH)
    plan = Plan(batch=2, frames=10, steps=4, phonetic=0.0, likeness=1.0, encoder_steps=0)
    made = CodecTrainer(codec, plan, torch.device("cpu"), known).step(0, sounds)["likeness"]
    assert made == 1, "nothing is like a code that sounds like nothing"
    known[3] = encoder.of_one(samples.numpy())
    made = CodecTrainer(codec, plan, torch.device("cpu"), known).step(0, sounds)["likeness"]
    assert 0 < made < 1.5 and made != 1
