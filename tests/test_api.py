"""The Python API, on a tiny model."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import csm
from csm.audio.encoders.pcm import pcm16
from csm.errors import CsmError, InvalidRequest, UndecodableAudio, UnknownVoice
from csm.settings import SettingsError
from csm.speech.synthesizer import CsmSynthesizer
from tests.paths import ROOT
from tests.reference_audio import VOICE
from tests.speech.fake_engine import FakeEngine
from tests.speech.utterances import REFERENCE_AUDIO, speech_settings, utterance


@pytest.fixture(scope="module")
def folder(tiny: Callable[..., Path]) -> Path:
    return tiny()


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[csm.CSM]:
    with csm.load(str(folder), device="cpu", precision="float32", slots=2) as model:
        yield model


def test_importing_the_package_is_light() -> None:
    check = "import sys, csm; print(csm.__version__, {'torch', 'numpy', 'pydantic', 'flask'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == f"{csm.__version__} set()\n", run.stderr


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match=r"csm.*no attribute 'lode'"):
        _ = csm.lode


def test_what_is_streamed_is_what_is_said(model: csm.CSM) -> None:
    given: dict[str, Any] = {"transcript": "Heard before.", "seed": 3, "max_seconds": 0.8}
    speech = model.say("Hello there.", REFERENCE_AUDIO, **given)
    chunks = list(model.stream("Hello there.", REFERENCE_AUDIO, **given))
    assert speech.sample_rate == csm.CSM.sample_rate == 24_000
    assert speech.samples.dtype == np.float32 and speech.samples.shape == (10 * 1920,)
    assert [len(chunk) for chunk in chunks] == [1920 - 120, 2 * 1920, 4 * 1920, 3 * 1920, 120]
    assert np.array_equal(np.concatenate(chunks), speech.samples)
    assert 0 < np.abs(speech.samples).max() <= 1


def test_it_says_what_the_server_would_say(model: csm.CSM) -> None:
    asked = utterance("Hello there.", seed=3, max_seconds=0.8)
    served = b"".join(model._synthesizer.speak(asked, model._synthesizer.reserve(), lambda: False))
    speech = model.say("Hello there.", REFERENCE_AUDIO, "Heard before.", seed=3, max_seconds=0.8)
    assert pcm16(speech.samples) == served


def test_every_argument_counts(model: csm.CSM) -> None:
    given: dict[str, Any] = {"transcript": "Heard.", "seed": 1, "max_seconds": 0.4}
    others: dict[str, Any] = {"transcript": None, "seed": 2, "temperature": 2.0, "top_k": 1, "speed": 1.5}
    asked = [given, *(given | {name: value} for name, value in others.items())]
    said = [model.say("Hello.", REFERENCE_AUDIO, **each).samples.tobytes() for each in asked]
    assert len(set(said)) == len(said)
    assert model.say("Hello.", REFERENCE_AUDIO, **given).samples.tobytes() == said[0]
    assert len(model.say("Hello.", REFERENCE_AUDIO, **given | {"max_seconds": 0.16}).samples) == 2 * 1920


@pytest.mark.parametrize("kind", [str, Path, lambda path: path.read_bytes()])
def test_a_voice_is_a_path_or_bytes(model: csm.CSM, kind: Callable[[Path], Any]) -> None:
    first, second = [model.say("Hello.", voice, seed=1, max_seconds=0.16).samples for voice in (VOICE, kind(VOICE))]
    assert np.array_equal(first, second)


def test_a_stream_that_is_closed_stops_its_generation() -> None:
    engine = FakeEngine(chunks=10)
    with csm.CSM(CsmSynthesizer(speech_settings(), engine, {})) as model:
        stream = model.stream("Hello.", REFERENCE_AUDIO)
        next(stream)
        [call] = engine.calls
        assert [call.closed, model._synthesizer.status().running] == [False, 1]
        stream.close()
        assert [call.closed, model._synthesizer.status().running] == [True, 0]
    assert engine.is_closed


def test_a_dialogue_is_spoken_turn_by_turn() -> None:
    engine = FakeEngine(chunks=20)
    heard = ("Ben", "Laughter.", REFERENCE_AUDIO)
    turns: list[Any] = [("Ann", "How are you?"), heard, ("Ben", "Fine."), ("Ann", "Good.")]
    with csm.CSM(CsmSynthesizer(speech_settings(), engine, {})) as model:
        chunks = list(model.converse(turns, {"Ann": (REFERENCE_AUDIO, "I am Ann.")}, seed=1))
    spoken = {n: sum(len(samples) for turn, samples in chunks if turn == n) for n, _ in chunks}
    assert spoken == dict.fromkeys((0, 2, 3), 20 * 1920)
    with csm.CSM(CsmSynthesizer(speech_settings(), FakeEngine(chunks=20), {})) as model:
        chunks = list(model.converse(turns, {"Ann": (REFERENCE_AUDIO, "I am Ann.")}, seed=1, speed=2.0))
    assert sum(len(samples) for _, samples in chunks) == 3 * 20 * 1920 // 2
    context = engine.calls[0].conversation.context
    assert [(turn.role, turn.text) for turn in context] == [("0", "I am Ann."), ("1", "Laughter.")]


def test_a_dialogue_without_a_voice_or_with_one_too_many_is_refused(model: csm.CSM) -> None:
    with pytest.raises(InvalidRequest, match="has no voice"):
        next(model.converse([("Ann", "Hello.")], {}))
    with pytest.raises(InvalidRequest, match="no turn"):
        next(model.converse([("Ann", "Hello.")], {"Ann": REFERENCE_AUDIO, "Eve": REFERENCE_AUDIO}))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 2052}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"speed": 0.4}, "speed"),
        ({"speed": float("nan")}, "speed"),
    ],
)
def test_a_number_out_of_range_is_refused(model: csm.CSM, given: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        model.say("Hello.", REFERENCE_AUDIO, **given)


def test_a_stored_voice_is_named(model: csm.CSM) -> None:
    speech = model.say("Hello.", csm.StoredVoice("default"), seed=1, max_seconds=0.16)
    assert len(speech.samples) == 2 * 1920
    with pytest.raises(UnknownVoice):
        model.say("Hello.", csm.StoredVoice("nobody"))
    with pytest.raises(InvalidRequest, match="transcript"):
        model.say("Hello.", csm.StoredVoice("default"), "Words.")


def test_errors_are_those_of_the_package(model: csm.CSM, tmp_path: Path) -> None:
    with pytest.raises(UndecodableAudio):
        model.say("Hello.", b"no audio")
    with pytest.raises(FileNotFoundError):
        model.say("Hello.", tmp_path / "missing.wav")
    assert issubclass(UndecodableAudio, CsmError)


def test_settings_may_be_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with csm.load(str(folder), device="cpu", precision="float32", max_audio_seconds=0.4, slots=1) as model:
        assert len(np.concatenate(list(model.stream("Longer to say.", REFERENCE_AUDIO, seed=1)))) == 5 * 1920
        assert model._synthesizer.status().details["slots"] == 1


def test_the_environment_is_read_but_its_address_does_not_matter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSM_MODEL", str(folder))
    monkeypatch.setenv("CSM_PRECISION", "float32")
    monkeypatch.setenv("CSM_HOST", "0.0.0.0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CSM_MODEL=nowhere/at-all\n")
    with csm.load() as model:
        assert model._synthesizer.status().model == str(folder)


@pytest.mark.parametrize("given", [{"modle": "demo"}, {"device": "abacus"}, {"slots": 0}])
def test_wrong_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        csm.load(**given)
