"""Dialogues: each turn in its speaker's voice, with all turns before as context; over a fake engine."""

import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csm.audio.decode import decode
from csm.audio.encoders.pcm import pcm16
from csm.audio.encoders.wav import header
from csm.audio.waveform import Waveform
from csm.engine.api import Engine
from csm.errors import CsmError, DeadlineExceeded, InvalidRequest, UndecodableAudio, UnknownVoice, UnusableReference
from csm.model.conversation import Conversation
from csm.speech import Dialogue, DialogueTurn, Speech, VoiceSource
from csm.speech.build import make_engine
from csm.speech.synthesizer import CsmSynthesizer
from tests.reference_audio import synthetic_speech
from tests.speech.fake_engine import FakeEngine
from tests.speech.utterances import speech_settings, utterance

ALICE = VoiceSource(synthetic_speech(2.0, seed=1), transcript="I am Alice.")
BOB = VoiceSource(synthetic_speech(2.0, seed=2), transcript="I am Bob.")
HEARD = synthetic_speech(3.0, seed=3)

TALK = Dialogue(
    [DialogueTurn(0, "How are you?"), DialogueTurn(1, "I am fine."), DialogueTurn(0, "That is good.")],
    {0: ALICE, 1: BOB},
)


@pytest.fixture
def engine() -> FakeEngine:
    """An engine whose turns are long enough to be good."""
    return FakeEngine(chunks=20)


@pytest.fixture
def synthesizer(engine: FakeEngine) -> CsmSynthesizer:
    return CsmSynthesizer(speech_settings(), engine, {})


def converse(synthesizer: CsmSynthesizer, dialogue: Dialogue) -> Speech:
    return synthesizer.speak(dialogue, synthesizer.reserve(), lambda: False)


def said(engine: FakeEngine) -> list[Conversation]:
    return [call.conversation for call in engine.calls]


def words(turns: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns]


def refused(synthesizer: CsmSynthesizer, kind: type[CsmError], dialogue: Dialogue) -> str:
    with pytest.raises(kind) as told:
        list(converse(synthesizer, dialogue))
    assert (synthesizer.status().running, synthesizer.status().waiting) == (0, 0)
    return str(told.value)


def test_each_turn_is_spoken_in_its_voice_behind_all_voices_and_all_turns_before(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    speech = converse(synthesizer, TALK)
    assert sum(map(len, speech)) // 3840 == 60
    voices, turns = [("0", "I am Alice."), ("1", "I am Bob.")], [(str(t.speaker), t.text) for t in TALK.turns]
    for number, conversation in enumerate(said(engine)):
        assert words(conversation.context) == voices
        assert words(conversation.said) == turns[:number]
        assert words([conversation.target]) == [turns[number]]
    alice, bob = (turn.audio for turn in said(engine)[0].context)
    assert alice is not None and bob is not None and not (alice.samples[:40_000] == bob.samples[:40_000]).all()
    assert (speech.notes.segments, speech.notes.finish_reason, speech.notes.language) == (3, "stop", "en")


def test_what_was_heard_is_context_in_its_place(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    turns = [DialogueTurn(0, "A question?", HEARD), DialogueTurn(1, "An answer."), DialogueTurn(0, "Oh!", HEARD)]
    list(converse(synthesizer, Dialogue([*turns, DialogueTurn(1, "Yes.")], {1: BOB})))
    first, last = said(engine)[0], said(engine)[-1]
    assert words(first.context) == [("1", "I am Bob.")] and words(first.said) == [("0", "A question?")]
    assert words(last.said) == [("0", "A question?"), ("1", "An answer."), ("0", "Oh!")]
    assert all(turn.codes is not None and turn.audio is not None for turn in last.said)


def test_a_speaker_without_a_voice_speaks_as_they_were_first_heard(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    turns = [DialogueTurn(0, "Heard first.", HEARD), DialogueTurn(0, "Heard later.", HEARD), DialogueTurn(0, "Spoken.")]
    list(converse(synthesizer, Dialogue(turns)))
    [conversation] = said(engine)
    assert words(conversation.context) == [("0", "Heard first.")] and words(conversation.said) == [
        ("0", "Heard later.")
    ]


def test_the_voice_of_a_speaker_who_only_listens_is_not_read(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    list(converse(synthesizer, replace(TALK, voices={**TALK.voices, 2: VoiceSource(b"no audio")})))
    assert len(said(engine)[0].context) == 2


def test_the_notes_name_the_turn_of_each_piece_of_audio(synthesizer: CsmSynthesizer) -> None:
    speech = converse(synthesizer, Dialogue([DialogueTurn(1, "Heard.", HEARD), *TALK.turns], TALK.voices))
    turns = [speech.notes.turn for _ in speech]
    assert turns == sorted(turns) and set(turns) == {1, 2, 3}


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_the_limit_counts_for_the_whole_dialogue(speed: float, synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    speech = converse(synthesizer, replace(TALK, max_seconds=2.0, speed=speed))
    assert sum(map(len, speech)) == pytest.approx(2.0 * 48_000, abs=4)
    assert speech.notes.finish_reason == "length" and len(engine.calls) == (2 if speed == 1.0 else 3)


@pytest.mark.parametrize(
    ("turns", "index", "speaker"),
    [
        ([DialogueTurn(0, "Who am I?")], 0, 0),
        ([DialogueTurn(0, "Heard.", HEARD), DialogueTurn(1, "Who am I?")], 1, 1),
        ([DialogueTurn(0, "Too early."), DialogueTurn(0, "Heard.", HEARD)], 0, 0),
    ],
)
def test_a_speaker_without_any_voice_is_refused_by_number(turns: list[DialogueTurn], index: int, speaker: int) -> None:
    with pytest.raises(InvalidRequest) as told:
        Dialogue(turns)
    assert str(told.value).startswith(f"turns[{index}]: its speaker (number {speaker}, counted from 0) has no voice")


def test_a_dialogue_in_which_nobody_speaks_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nobody speaks"):
        Dialogue([DialogueTurn(0, "Heard.", HEARD)])


def test_errors_say_where_in_the_dialogue_they_are(synthesizer: CsmSynthesizer) -> None:
    def with_turn(turn: DialogueTurn) -> Dialogue:
        return replace(TALK, turns=[TALK.turns[0], turn, *TALK.turns[1:]])

    assert refused(synthesizer, InvalidRequest, with_turn(DialogueTurn(0, "<|AUDIO|>"))).startswith("turns[1].text: ")
    told = refused(synthesizer, UndecodableAudio, with_turn(DialogueTurn(2, "Heard.", b"no audio")))
    assert told.startswith("turns[1].audio: ")
    for audio, reason in ((synthetic_speech(0.2), "0.4 s is needed"), (synthetic_speech(70.0), "at most 60")):
        told = refused(synthesizer, UnusableReference, with_turn(DialogueTurn(2, "Heard.", audio)))
        assert told.startswith("turns[1].audio: ") and reason in told
    broken = {0: ALICE, 1: VoiceSource(synthetic_speech(0.3))}
    told = refused(synthesizer, UnusableReference, replace(TALK, voices=broken))
    assert told.startswith("the voice of speaker 1: ") and "1 s is needed" in told
    told = refused(synthesizer, UnknownVoice, replace(TALK, voices={0: ALICE, 1: VoiceSource(voice="nobody")}))
    assert told.startswith("the voice of speaker 1: ") and "nobody" not in told


def test_a_turn_that_was_heard_may_be_shorter_than_a_voice(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    short = DialogueTurn(2, "Yes.", synthetic_speech(0.9))
    list(converse(synthesizer, replace(TALK, turns=[short, *TALK.turns])))
    assert words(said(engine)[0].said) == [("2", "Yes.")]
    told = refused(synthesizer, UnusableReference, Dialogue([replace(short, speaker=0), DialogueTurn(0, "Me too.")]))
    assert "1 s is needed" in told


def test_a_turn_that_was_heard_may_be_longer_than_a_voice_and_clipped(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    samples = np.sign(np.random.default_rng(0).standard_normal(45 * 24_000)).astype(np.float32)
    body = pcm16(samples)
    clipped = DialogueTurn(2, "Loud.", header(24_000, len(body)) + body)
    list(converse(synthesizer, replace(TALK, turns=[clipped, *TALK.turns])))
    [heard] = said(engine)[0].said
    assert heard.audio is not None and heard.audio.seconds > 44
    assert "clipped" in refused(
        synthesizer, UnusableReference, Dialogue([replace(clipped, speaker=0), DialogueTurn(0, "Me too.")])
    )


def test_more_audio_than_the_context_could_hold_is_refused(
    synthesizer: CsmSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csm.speech.dialogue.MAX_HEARD_SECONDS", 5.0)
    heard = DialogueTurn(2, "Heard.", HEARD)
    list(converse(synthesizer, replace(TALK, turns=[heard, *TALK.turns])))
    told = refused(synthesizer, UnusableReference, replace(TALK, turns=[heard, heard, *TALK.turns]))
    assert "leave out the oldest" in told


def test_silence_counts_towards_the_recordings_that_are_decoded(
    synthesizer: CsmSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csm.speech.dialogue.MAX_HEARD_SECONDS", 5.0)
    body = bytes(2 * 4 * 24_000) + pcm16(decode(synthetic_speech(2.0), 2.0).samples)
    late = DialogueTurn(2, "Heard.", header(24_000, len(body)) + body)
    told = refused(synthesizer, UnusableReference, replace(TALK, turns=[late, *TALK.turns]))
    assert told.startswith("turns[0].audio: ") and "leave out the oldest" in told


def test_all_recordings_together_have_one_deadline(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[float] = []

    def slowly(data: bytes, max_seconds: float) -> Waveform:
        decoded.append(max_seconds)
        time.sleep(0.6)
        return decode(data, max_seconds)

    monkeypatch.setattr("csm.speech.reference.decode", slowly)
    synthesizer = CsmSynthesizer(speech_settings(deadline_seconds=0.5), engine, {})
    assert "in time" in refused(synthesizer, DeadlineExceeded, TALK)
    assert len(decoded) == 1 and not engine.calls


def test_warnings_say_whose_voice_they_are_about(synthesizer: CsmSynthesizer) -> None:
    speech = converse(synthesizer, TALK)
    next(speech)
    lines = speech.notes.reference_warnings
    assert {line[-11:] for line in lines if line.startswith("short: ")} == {"(speaker 0)", "(speaker 1)"}
    speech.close()


@pytest.mark.parametrize(
    ("transcripts", "source"), [(("Heard.", "Heard."), "given"), (("Heard.", None), "none"), ((None, "Heard."), "none")]
)
def test_the_least_certain_transcript_is_noted(
    transcripts: tuple[str | None, str | None], source: str, synthesizer: CsmSynthesizer
) -> None:
    voices = {n: replace(TALK.voices[n], transcript=transcripts[n]) for n in (0, 1)}
    speech = converse(synthesizer, replace(TALK, voices=voices))
    next(speech)
    assert speech.notes.transcript_source == source
    speech.close()


def test_all_files_are_released_once_they_are_decoded(synthesizer: CsmSynthesizer) -> None:
    voice, heard = Released(ALICE.reference or b""), Released(HEARD)
    kept = [weakref.ref(voice), weakref.ref(heard)]
    turns = [DialogueTurn(1, "Heard.", heard), DialogueTurn(0, "Spoken.")]  # type: ignore[arg-type]
    speech = converse(synthesizer, Dialogue(turns, {0: VoiceSource(voice, transcript="Me.")}))  # type: ignore[arg-type]
    del voice, heard, turns
    next(speech)
    assert [reference() for reference in kept] == [None, None]
    speech.close()


class Released(bytearray):
    """Bytes that weak references can point to."""


@pytest.fixture
def perform(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Return a function that lets a tiny model speak a dialogue, with the settings given; `adapt` wraps its engine."""
    # The noise of a random model has no end, and what ended badly would be no context.
    monkeypatch.setattr("csm.speech.takes.Take.is_good", True)
    dialogue = replace(TALK, turns=[DialogueTurn(2, "Heard.", HEARD), *TALK.turns], temperature=0.0, seed=1)

    def heard(adapt: Callable[[Engine], Any] = lambda engine: engine, **given: Any) -> bytes:
        model = {"model": str(tiny()), "device": "cpu", "precision": "float32"}
        settings = speech_settings(**{**model, "max_audio_seconds": 2.0, **given})
        synthesizer = CsmSynthesizer(settings, adapt(make_engine(settings, tiny())), {})
        try:
            return b"".join(converse(synthesizer, dialogue))
        finally:
            synthesizer.close()

    return heard


class WithoutPrefix:
    """An engine that keeps no keys and values from one turn to the next."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(self, *turn: Any, cache: Any, **given: Any) -> Any:
        """See `Engine.generate`."""
        assert cache is not None
        return self.engine.generate(*turn, **given)


def test_keys_and_values_that_are_kept_change_nothing_that_is_heard(perform: Callable[..., bytes]) -> None:
    kept = perform()
    assert len(kept) == 3 * 2 * 48_000 and perform(WithoutPrefix) == kept


def test_the_engine_of_transformers_speaks_dialogues_too(perform: Callable[..., bytes]) -> None:
    assert len(perform(engine="transformers", max_audio_seconds=0.4)) == 3 * 5 * 3840


def test_an_utterance_is_a_dialogue_of_one_turn() -> None:
    given = utterance("Hi.", temperature=0.5, top_k=3, seed=4, max_seconds=5.0, stream=False, speed=1.5, owner="me")
    dialogue = Dialogue.from_utterance(given)
    assert dialogue.turns == [DialogueTurn(0, "Hi.")]
    assert dialogue.voices == {0: VoiceSource(given.reference, None, given.transcript)}
    assert (dialogue.temperature, dialogue.top_k, dialogue.seed, dialogue.max_seconds) == (0.5, 3, 4, 5.0)
    assert (dialogue.stream, dialogue.speed, dialogue.owner) == (False, 1.5, "me")
