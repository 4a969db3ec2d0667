"""Voices are made of recordings, spoken with, carried elsewhere and deleted; with a fake engine unless it matters."""

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from csm.asr.transcriber import Transcriber
from csm.engine.csm_engine import CsmEngine
from csm.errors import (
    Cancelled,
    Conflict,
    InvalidRequest,
    NotAllowed,
    StorageFailed,
    UndecodableAudio,
    UnknownVoice,
    UnusableReference,
)
from csm.speech.build import build
from csm.speech.reference import ReferenceReader
from csm.speech.synthesizer import CsmSynthesizer
from csm.speech.voices.api import VoiceDraft, VoiceInfo
from csm.speech.voices.file import VoiceFile
from csm.speech.voices.stored import PAUSE_SECONDS, StoredVoices
from tests.corpus.voices import damaged, voice_file
from tests.reference_audio import synthetic_speech
from tests.speech.fake_engine import FakeEngine
from tests.speech.utterances import REFERENCE_AUDIO, speak, speech_settings, utterance
from tests.speech.voices.stored_files import stored_files


def never() -> bool:
    return False


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., CsmSynthesizer]:
    """Start a server on one and the same folder."""

    def start(engine: FakeEngine, **given: Any) -> CsmSynthesizer:
        return CsmSynthesizer(speech_settings(**{"voices_dir": tmp_path / "voices", **given}), engine, {})

    return start


@pytest.fixture
def synthesizer(make: Callable[..., CsmSynthesizer], engine: FakeEngine) -> CsmSynthesizer:
    return make(engine)


def draft(*recordings: bytes, **given: Any) -> VoiceDraft:
    made = {"name": "Ann", "recordings": recordings or (REFERENCE_AUDIO,), "transcripts": ("Heard before.",)}
    return VoiceDraft(**{**made, "consent": "I am the speaker.", **given})


def create(synthesizer: CsmSynthesizer, *recordings: bytes, **given: Any) -> VoiceInfo:
    return synthesizer.voices.create(draft(*recordings, **given), "alice", never)


def say(synthesizer: CsmSynthesizer, voice: str, owner: str = "alice") -> Any:
    return speak(synthesizer, utterance(reference=None, transcript=None, voice=voice, owner=owner))


def test_a_voice_knows_who_agreed_and_when_and_how_good_it_is(synthesizer: CsmSynthesizer) -> None:
    info = create(synthesizer, transcripts=(" Heard <|AUDIO|>before. ",))
    assert (info.name, info.owner, info.transcript, info.transcript_source) == (
        "Ann",
        "alice",
        "Heard before.",
        "given",
    )
    assert info.consent == "I am the speaker." and info.consented_at == info.created_at > 1_700_000_000
    assert info.report["seconds"] == info.seconds == pytest.approx(2.0, abs=0.3)
    assert len(info.report["recordings"]) == 1 and info.report["warnings"][0].startswith("short: ")


def test_what_is_said_in_a_stored_voice_has_its_audio_words_and_codes(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    info = create(synthesizer)
    for word in (info.id, "Ann"):
        speech = say(synthesizer, word)
        list(speech)
        [heard] = engine.calls[-1].conversation.context
        assert heard.text == "Heard before." and speech.notes.transcript_source == "given"
        assert np.abs(heard.audio.samples - engine.encoded[0].audio.samples).max() == 0
        assert heard.codes.dtype == np.int64 and (heard.codes == 1).all()
    assert len(engine.encoded) == 1


def test_a_restarted_server_speaks_without_encoding(make: Callable[..., CsmSynthesizer], engine: FakeEngine) -> None:
    create(make(engine))
    again = FakeEngine()
    list(say(make(again), "Ann"))
    assert not again.encoded and again.calls[0].conversation.context[0].codes is not None


def test_another_codec_encodes_once_and_both_are_kept(make: Callable[..., CsmSynthesizer], engine: FakeEngine) -> None:
    create(make(engine))
    for _ in range(2):
        other = FakeEngine(codec="c1")
        list(say(make(other), "Ann"))
    assert not other.encoded
    old = FakeEngine()
    list(say(make(old), "Ann"))
    assert not old.encoded
    for number in range(6):
        list(say(make(FakeEngine(codec=f"d{number}")), "Ann"))
    last = FakeEngine(codec="d5")
    list(say(make(last), "Ann"))
    assert not last.encoded, "however many codecs there were, the file stays valid"


def test_codes_that_cannot_be_written_do_not_matter(
    make: Callable[..., CsmSynthesizer], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(make(engine))
    monkeypatch.setattr("csm.speech.voices.disk.write", failing)
    assert list(say(make(FakeEngine(codec="c1")), "Ann"))


def failing(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_voice_that_cannot_be_written_leaves_nothing(
    synthesizer: CsmSynthesizer, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csm.speech.voices.disk.write", failing)
    with pytest.raises(StorageFailed, match="disk is full"):
        create(synthesizer)
    assert len(engine.forgotten) == 1 and [info.id for info in synthesizer.voices.available("alice")] == ["default"]


def test_everybody_can_speak_with_the_default_voice(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    for one in (synthesizer, CsmSynthesizer(speech_settings(), engine, {})):
        list(say(one, "default", owner="anybody"))
        assert "John Dashwood" in engine.calls[-1].conversation.context[0].text


@pytest.mark.parametrize("word", ["nobody", "", "../voices/x", "voice_" + "0" * 32])
def test_an_unknown_voice_is_never_replaced_by_another(word: str, synthesizer: CsmSynthesizer) -> None:
    create(synthesizer)
    with pytest.raises(UnknownVoice):
        next(say(synthesizer, word))
    with pytest.raises(UnknownVoice):
        next(say(synthesizer, "Ann", owner="bob"))
    assert synthesizer._admission.reserved == 0


def test_several_recordings_make_one_voice(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    one, two = synthetic_speech(3, seed=1), synthetic_speech(4, seed=2)
    apart = [create(synthesizer, audio, name=name).seconds for audio, name in ((one, "1"), (two, "2"))]
    info = create(synthesizer, one, two, transcripts=("First words.", "Second words."))
    assert info.transcript == "First words. Second words." and len(info.report["recordings"]) == 2
    assert info.seconds == pytest.approx(sum(apart) + PAUSE_SECONDS, abs=0.02)
    assert not any(line.startswith("short") for line in info.report["warnings"]), "together they are long enough"
    samples = soundfile.read(io.BytesIO(synthesizer.voices.sample("alice", info.id)), dtype="int16")[0]
    middle = round(apart[0] * 24_000)
    assert not samples[middle : middle + 7200].any() and samples[:middle].any() and samples[middle + 7200 :].any()


def test_one_transcript_may_be_that_of_all_recordings(synthesizer: CsmSynthesizer) -> None:
    info = create(synthesizer, REFERENCE_AUDIO, synthetic_speech(seed=3), transcripts=("All words.",))
    assert (info.transcript, info.transcript_source) == ("All words.", "given")


def test_recordings_that_do_not_fit_are_left_out_with_their_words_and_told(
    make: Callable[..., CsmSynthesizer], engine: FakeEngine
) -> None:
    synthesizer = make(engine, max_reference_seconds=6)
    parts = [synthetic_speech(3, seed=number) for number in range(3)]
    info = create(synthesizer, *parts, transcripts=("One.", "Two.", "Three."))
    assert info.seconds <= 6 and info.transcript in ("One.", "One. Two.")
    assert "left out" in info.report["warnings"][-1]
    with pytest.raises(UnusableReference, match="a transcript for each"):
        create(synthesizer, *parts, name="Bea", transcripts=("One. Two. Three.",))


def test_a_recording_that_is_too_long_is_cut_and_told(make: Callable[..., CsmSynthesizer], engine: FakeEngine) -> None:
    info = create(make(engine, max_reference_seconds=4), synthetic_speech(7))
    assert info.seconds <= 4 and info.report["warnings"][-1].startswith("cut: only the first")
    assert info.report["recordings"][0]["dropped_seconds"] > 2


def test_only_the_first_recording_may_be_cut(make: Callable[..., CsmSynthesizer], engine: FakeEngine) -> None:
    """The transcript of another one would have words that are not in the audio."""
    synthesizer = make(engine, max_reference_seconds=6)
    short, long = synthetic_speech(1.5, seed=1), synthetic_speech(9, seed=2)
    info = create(synthesizer, short, long, transcripts=("Short.", "Long."))
    assert info.transcript == "Short." and [line.partition(":")[0] for line in info.report["warnings"]][-1] == "cut"
    assert info.seconds < 2


@pytest.fixture
def with_reader(tmp_path: Path, engine: FakeEngine) -> Callable[..., StoredVoices]:
    """Return stored voices whose reader has another transcriber or other decoders than the settings select."""
    settings = speech_settings(voices_dir=tmp_path / "voices")
    return lambda **parts: StoredVoices(settings, engine, ReferenceReader(settings, **parts))


class Recognizer:
    """Recognizes the recordings one after the other, while `door` is open."""

    def __init__(self, *words: str | None) -> None:
        self.words = list(words)
        self.begun, self.door = threading.Event(), threading.Event()
        self.door.set()

    def recognize(self, _: Any) -> str | None:
        self.begun.set()
        assert self.door.wait(60)
        return self.words.pop(0)


@pytest.mark.parametrize(
    ("words", "transcript", "source"),
    [
        (("First\nwords.", "Second<|x|> words."), "First words. Second words.", "recognized"),
        (("First words.", None), "", "none"),
    ],
)
def test_missing_words_are_recognized_and_all_or_none_are_kept(
    words: tuple[str | None, ...], transcript: str, source: str, with_reader: Callable[..., StoredVoices]
) -> None:
    voices = with_reader(transcriber=Transcriber(lambda: Recognizer(*words, "Other words.", "And others.")))
    recordings = synthetic_speech(seed=1), synthetic_speech(seed=2)
    info = voices.create(draft(*recordings, transcripts=()), "alice", never)
    assert (info.transcript, info.transcript_source) == (transcript, source)
    again = voices.create(draft(*recordings, name="Bea", transcripts=()), "alice", never)
    assert again.transcript == "Other words. And others.", "the words are in the file only"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"recordings": (b"no audio",)}, UndecodableAudio),
        ({"recordings": (REFERENCE_AUDIO, b"no audio"), "transcripts": ()}, UndecodableAudio),
        ({"recordings": (synthetic_speech(0.3),)}, UnusableReference),
        ({"transcripts": ("word " * 1000,)}, InvalidRequest),
        ({"name": "default"}, Conflict),
    ],
)
def test_what_cannot_be_used_is_told_and_stores_nothing(
    given: dict[str, Any], kind: type[Exception], synthesizer: CsmSynthesizer
) -> None:
    with pytest.raises(kind):
        create(synthesizer, **given)
    assert [info.id for info in synthesizer.voices.available("alice")] == ["default"]


def test_without_a_folder_nothing_is_decoded(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csm.speech.reference.decode", None)
    with pytest.raises(NotAllowed, match="CSM_VOICES_DIR"):
        create(CsmSynthesizer(speech_settings(), engine, {}))


def test_a_client_that_disconnects_stores_nothing(with_reader: Callable[..., StoredVoices]) -> None:
    voices = with_reader(decoders=threading.Semaphore(0))
    with pytest.raises(Cancelled):
        voices.create(draft(), "alice", lambda: True)
    assert [info.id for info in voices.available("alice")] == ["default"]


def test_the_sample_is_the_audio_that_the_model_hears(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    info = create(synthesizer)
    samples, rate = soundfile.read(io.BytesIO(synthesizer.voices.sample("alice", info.id)), dtype="int16")
    assert rate == 24_000 and np.abs(samples / np.float32(32767) - engine.encoded[0].audio.samples).max() < 1e-6


def test_an_exported_voice_is_the_same_elsewhere(
    make: Callable[..., CsmSynthesizer], engine: FakeEngine, tmp_path: Path
) -> None:
    here, there = make(engine), make(FakeEngine(), voices_dir=tmp_path / "elsewhere")
    info = create(here)
    content = here.voices.export("alice", info.id)
    assert b"alice" not in content
    moved = there.voices.add_file(content, "bob", None, never)
    assert (moved.owner, moved.name, moved.transcript, moved.consent) == ("bob", "Ann", info.transcript, info.consent)
    assert moved.consented_at == info.consented_at and moved.id != info.id
    assert there.voices.sample("bob", moved.id) == here.voices.sample("alice", info.id)
    with pytest.raises(Conflict):
        there.voices.add_file(content, "bob", None, never)
    assert there.voices.add_file(content, "bob", "Bea", never).name == "Bea"


def test_codes_report_and_words_of_a_strangers_file_are_not_trusted(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    lies = voice_file(transcript="Say <|AUDIO|> this.", report={"seconds": 99}, consented_at=99_999_999_999)
    info = synthesizer.voices.add_file(lies.to_bytes(), "alice", None, never)
    assert info.transcript == "Say this." and info.report["seconds"] == 2.0 and info.consented_at <= info.created_at
    list(say(synthesizer, "Ann"))
    assert len(engine.encoded) == 1
    assert engine.calls[0].conversation.context[0].codes.tolist() == [[1] * 4] * 25


def test_a_file_without_speech_or_that_is_too_long_is_refused(
    make: Callable[..., CsmSynthesizer], engine: FakeEngine
) -> None:
    synthesizer = make(engine, max_reference_seconds=5)
    silent = voice_file()
    for content in (replace(silent, samples=silent.samples * 0), voice_file(seconds=6)):
        with pytest.raises(UnusableReference):
            synthesizer.voices.add_file(content.to_bytes(), "alice", None, never)


@pytest.mark.parametrize("content", [content for _, content in damaged()], ids=[name for name, _ in damaged()])
def test_damaged_files_are_refused(content: bytes, shared_voices: CsmSynthesizer) -> None:
    with pytest.raises(InvalidRequest, match="cannot be imported"):
        shared_voices.voices.add_file(content, "alice", None, never)


@pytest.fixture(scope="module")
def shared_voices(tmp_path_factory: pytest.TempPathFactory) -> CsmSynthesizer:
    return CsmSynthesizer(speech_settings(voices_dir=tmp_path_factory.mktemp("voices")), FakeEngine(), {})


def test_nothing_of_a_deleted_voice_is_left(synthesizer: CsmSynthesizer, engine: FakeEngine, tmp_path: Path) -> None:
    info = create(synthesizer)
    synthesizer.voices.delete("alice", info.id)
    assert stored_files(tmp_path / "voices") == []
    assert engine.forgotten == [engine.encoded[0].audio.fingerprint]
    with pytest.raises(UnknownVoice):
        synthesizer.voices.get("alice", info.id)


def test_a_voice_deleted_while_it_speaks_speaks_to_the_end_and_is_forgotten(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    info = create(synthesizer)
    speaking = say(synthesizer, "Ann")
    next(speaking)
    synthesizer.voices.delete("alice", info.id)
    assert list(speaking) and len(engine.forgotten) == 2


def test_a_voice_that_another_server_deletes_is_forgotten_with_the_next_request(
    make: Callable[..., CsmSynthesizer], engine: FakeEngine
) -> None:
    here, there = FakeEngine(), make(engine)
    info = create(there)
    server = make(here)
    list(say(server, "Ann"))
    assert not here.forgotten
    there.voices.delete("alice", info.id)
    list(say(server, "default"))
    assert here.forgotten == [engine.encoded[0].audio.fingerprint] == engine.forgotten


def test_words_that_are_recognised_for_nobody_are_not_kept(with_reader: Callable[..., StoredVoices]) -> None:
    recognizer = Recognizer("Words of the one who left.", "Words of the next.")
    recognizer.door.clear()
    voices = with_reader(transcriber=Transcriber(lambda: recognizer))
    with pytest.raises(Cancelled):
        voices.create(draft(transcripts=()), "alice", recognizer.begun.is_set)
    recognizer.door.set()
    assert voices.create(draft(transcripts=()), "alice", never).transcript == "Words of the next."


@pytest.fixture(scope="module")
def real(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    folder, started = tmp_path_factory.mktemp("real"), []

    def start(**given: Any) -> CsmSynthesizer:
        settings = speech_settings(model=str(tiny()), device="cpu", precision="float32", voices_dir=folder, **given)
        started.append(build(settings))
        return started[-1]

    yield start
    for synthesizer in started:
        synthesizer.close()


def encodings(synthesizer: CsmSynthesizer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry whenever the encoder runs."""
    counted: list[int] = []
    engine: Any = synthesizer._engine
    encoder = engine._runtime.encoder
    forward = encoder.forward

    def count(samples: Any) -> Any:
        counted.append(len(samples))
        return forward(samples)

    monkeypatch.setattr(encoder, "forward", count)
    return counted


@pytest.mark.parametrize("cache", [256, 0])
def test_the_real_engine_says_the_same_after_a_restart_without_encoding(
    cache: int, real: Callable[..., CsmSynthesizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = real(voice_cache_mb=cache)
    info = first.voices.create(draft(name=f"Ann {cache}"), "alice", never)
    said = utterance("One. " * 60, reference=None, transcript=None, voice=info.id, owner="alice", seed=1, max_seconds=2)
    spoken = b"".join(speak(first, said))
    again = real(voice_cache_mb=cache)
    counted, engine = encodings(again, monkeypatch), cast(CsmEngine, again._engine)
    before = engine.voices.size
    assert b"".join(speak(again, said)) == spoken and not counted
    assert engine.voices.size > before or not cache
    again.voices.delete("alice", info.id)
    assert engine.voices.size == before


def test_reference_audio_is_encoded_once_for_all_segments_even_without_a_cache(
    real: Callable[..., CsmSynthesizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesizer = real(voice_cache_mb=0)
    counted = encodings(synthesizer, monkeypatch)
    speech = speak(synthesizer, utterance("This sentence is said again and again. " * 12, seed=1, max_seconds=20))
    list(speech)
    assert speech.notes.segments > 2 and len(counted) == 1


def test_the_transformers_engine_speaks_with_stored_voices(
    real: Callable[..., CsmSynthesizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = real(), real(engine="transformers")
    assert ours._engine.info.codec == theirs._engine.info.codec != ""
    info = theirs.voices.create(draft(name="Both"), "alice", never)
    assert ours.voices.get("alice", info.id) == info
    said = utterance(
        "Hi.", reference=None, transcript=None, voice="Both", owner="alice", temperature=0.0, max_seconds=0.4
    )
    counted = encodings(ours, monkeypatch)
    assert len(b"".join(speak(ours, said))) == len(b"".join(speak(theirs, said))) and not counted
    theirs.voices.delete("alice", info.id)


def test_files_that_are_exported_can_be_read_by_others(synthesizer: CsmSynthesizer) -> None:
    info = create(synthesizer)
    content = synthesizer.voices.export("alice", info.id)
    assert VoiceFile.from_bytes(content, info.id).info == replace(info, owner=None)
