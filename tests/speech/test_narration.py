"""Texts come out whole, in order and in one voice, whatever single turns of the model do; over a scripted engine."""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from csm.audio.waveform import Samples, Waveform
from csm.engine.api import Chunk, EngineInfo, Sampling
from csm.engine.prefix_cache import ConversationPrefix
from csm.errors import Cancelled, GenerationFailed, InvalidRequest
from csm.model.conversation import Conversation, Turn
from csm.speech.api import Delivery
from csm.speech.endings import max_seconds
from csm.speech.frontend import Script
from csm.speech.history import History
from csm.speech.language import Language
from csm.speech.narration import MAX_RETRIES, Narration
from csm.speech.segments import Segment
from tests.speech.frames import FRAME, FRAME_RATE, RATE, Stream, looped, silence, sound

REFERENCE = Turn("0", "Heard before.", Waveform(np.zeros(RATE, np.float32), RATE))
HISTORY_SECONDS = 15.0
DELIVERY = Delivery(seed=100)
MAX_SEGMENT_SECONDS = 90.0

FAILURE = GenerationFailed("the model's state is not finite")

Frames = list[Chunk]


def spoken(text: str, mark: int = 0) -> Frames:
    """As many frames of sound as the text takes at 15 characters a second."""
    return [sound(max(1, round(len(text) / 15 * FRAME_RATE)), seed=mark)]


@dataclass
class Scripted:
    """An engine whose turns are given by a function of the text and of how often it was asked for.

    Attributes:
        turn: the frames of a turn.
        failing: whether a turn fails after its frames.
        asked: everything that it was asked for.
        closed: turns that were closed.
    """

    turn: Callable[[str, int], Frames] = lambda text, number: spoken(text)
    failing: Callable[[str, int], bool] = lambda text, number: False
    asked: list[tuple[Conversation, Sampling, int]] = field(default_factory=list)
    closed: int = 0
    refuses: Callable[[Conversation], bool] = lambda conversation: False
    deadlines: list[bool] = field(default_factory=list)

    info = EngineInfo("scripted", "cpu", "float32", 1, RATE, FRAME_RATE)
    running = 0

    def encode(self, *_: Any) -> Any:
        raise NotImplementedError

    def forget(self, *_: Any) -> None:
        raise NotImplementedError

    def failure(self) -> str | None:
        return None

    def stats(self) -> None:
        return

    def close(self) -> None:
        return

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        *,
        has_deadline: bool = True,
        cache: ConversationPrefix | None = None,
    ) -> Stream:
        if self.refuses(conversation):
            raise InvalidRequest("too long")
        self.deadlines.append(has_deadline)
        self.asked.append((conversation, sampling, max_frames))
        number = sum(said.target.text == conversation.target.text for said, _, _ in self.asked) - 1
        frames = self.turn(conversation.target.text, number)
        is_cut = sum(len(chunk.codes) for chunk in frames) >= max_frames
        error = FAILURE if self.failing(conversation.target.text, number) else None
        return Stream(self._chunks(frames, max_frames, is_disconnected, error), is_cut)

    def _chunks(
        self, frames: Frames, max_frames: int, is_disconnected: Callable[[], bool], error: GenerationFailed | None
    ) -> Generator[Chunk, None, None]:
        try:
            codes = np.concatenate([chunk.codes for chunk in frames]) if frames else np.zeros((0, 4), np.int64)
            samples = np.concatenate([chunk.samples for chunk in frames]) if frames else np.zeros(0, np.float32)
            for start in range(0, min(len(codes), max_frames), 4):
                if is_disconnected():
                    raise Cancelled("the client disconnected")
                end = min(start + 4, max_frames)
                yield Chunk(codes[start:end], samples[start * FRAME : end * FRAME])
            if error is not None:
                raise error
        finally:
            self.closed += 1

    @property
    def texts(self) -> list[str]:
        return [conversation.target.text for conversation, _, _ in self.asked]


SENTENCES = [f"This is sentence number {number} of a text that is long enough." for number in range(12)]
SEGMENTS = [Segment(sentence, 0.25) for sentence in SENTENCES]


def narration_of(
    engine: Scripted,
    delivery: Delivery = DELIVERY,
    is_disconnected: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    max_segment_seconds: float = MAX_SEGMENT_SECONDS,
) -> Narration:
    history = History([REFERENCE], HISTORY_SECONDS)
    return Narration(engine, history, delivery, max_segment_seconds, is_disconnected, clock=clock)


def script(segments: list[Segment], lead: float = 0.0) -> Script:
    return Script(tuple(segments), Language("en", 1.0), lead)


def narrate(
    engine: Scripted, segments: list[Segment] = SEGMENTS, delivery: Delivery = DELIVERY
) -> tuple[Narration, list[Samples]]:
    narration = narration_of(engine, delivery)
    return narration, list(narration.speak(script(segments)))


def test_every_segment_is_spoken_in_order_with_its_pause() -> None:
    engine = Scripted()
    narration, sent = narrate(engine)
    assert engine.texts == SENTENCES and engine.closed == 12
    assert narration.finish_reason == "stop" and narration.retries == 0
    frames = sum(len(spoken(text)[0].codes) for text in SENTENCES)
    assert sum(map(len, sent)) == frames * FRAME + 12 * round(0.25 * RATE)


def test_each_segment_has_the_voice_and_the_last_of_what_was_said_as_context() -> None:
    engine = Scripted()
    narrate(engine)
    for number, (conversation, _, _) in enumerate(engine.asked):
        assert [turn.text for turn in conversation.context] == [REFERENCE.text]
        said = [turn.text for turn in conversation.said]
        assert said == SENTENCES[:number][-len(said) :] if said else number == 0
        lengths = [turn.audio.seconds for turn in conversation.said if turn.audio is not None]
        assert sum(lengths) <= HISTORY_SECONDS
        assert all(turn.codes is not None and len(turn.codes) for turn in conversation.said)
    assert len(engine.asked[-1][0].said) >= 2


def test_a_segment_longer_than_the_history_is_still_the_next_ones_context() -> None:
    engine = Scripted()
    narrate(engine, [Segment("A long one. " * 30, 0.0), Segment("The next.", 0.0)])
    assert len(engine.asked[1][0].said) == 1


def test_joins_do_not_click() -> None:
    """The largest step between neighbouring samples is that within a segment, where every frame ends abruptly."""
    tone = np.full(FRAME * 40, 0.5, np.float32)
    chunk = Chunk(sound(40).codes, tone)
    _, sent = narrate(Scripted(lambda text, number: [chunk]), SEGMENTS[:3])
    whole = np.concatenate([np.zeros(1, np.float32), *sent, np.zeros(1, np.float32)])
    assert np.abs(np.diff(whole)).max() < 0.02


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([sound(20), silence(40)], "silence"),
        ([sound(8), looped([5, 6], 60)], "repeat"),
        ([sound(2000)], "length"),
        ([sound(3)], "stop"),
        ([], "stop"),
    ],
    ids=["silence", "loop", "endless", "words are missing", "nothing"],
)
def test_a_later_segment_that_ends_badly_is_made_again_with_another_seed(
    bad: Frames, reason: str, streamed: bool
) -> None:
    engine = Scripted(lambda text, number: bad if text == SENTENCES[2] and number == 0 else spoken(text))
    narration, _ = narrate(engine, delivery=replace(DELIVERY, stream=streamed))
    assert engine.texts == [*SENTENCES[:3], *SENTENCES[2:]]
    assert narration.finish_reason == "stop" and narration.retries == 1
    seeds = [sampling.seed for _, sampling, _ in engine.asked]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("frames", [0, 8])
@pytest.mark.parametrize("failures", [1, MAX_RETRIES])
def test_a_later_segment_in_which_the_engine_fails_is_made_again_without_a_trace(frames: int, failures: int) -> None:
    engine = Scripted(failing=lambda text, number: text == SENTENCES[2] and number < failures)
    engine.turn = lambda text, number: [sound(frames)] if engine.failing(text, number) else spoken(text)
    narration, sent = narrate(engine, SEGMENTS[:4])
    assert narration.finish_reason == "stop" and narration.retries == failures
    assert engine.texts[2 : 2 + failures] == [SENTENCES[2]] * failures and engine.closed == len(engine.asked)
    if failures == 1:
        assert np.array_equal(np.concatenate(sent), np.concatenate(narrate(Scripted(), SEGMENTS[:4])[1]))


@pytest.mark.parametrize("number", [0, 2])
def test_an_engine_that_fails_in_every_attempt_is_an_error(number: int) -> None:
    engine = Scripted(lambda text, number: [], failing=lambda text, _: text in SENTENCES[number])
    engine.turn = lambda text, _: [] if engine.failing(text, 0) else spoken(text)
    with pytest.raises(GenerationFailed, match="not finite"):
        narrate(engine)
    assert len(engine.asked) == number + 1 + MAX_RETRIES


def test_an_engine_that_fails_after_something_was_sent_is_an_error_at_once() -> None:
    engine = Scripted(failing=lambda text, number: True)
    narration = narration_of(engine)
    speaking = narration.speak(script(SEGMENTS))
    next(speaking)
    with pytest.raises(GenerationFailed, match="not finite"):
        list(speaking)
    assert len(engine.asked) == 1 and narration.retries == 0


def test_a_take_that_ended_badly_is_better_than_none() -> None:
    """The first attempt has some sound, the second none, and in the third the engine fails."""

    def turn(text: str, number: int) -> Frames:
        if text == SENTENCES[2]:
            return [sound(20), silence(40)] if number == 0 else []
        return spoken(text)

    halves = Scripted(turn, failing=lambda text, number: text in SENTENCES[2] and text != SENTENCES[2])
    narration, sent = narrate(halves, SEGMENTS[:3])
    assert narration.finish_reason == "silence" and narration.retries == 1 + MAX_RETRIES
    assert sum(map(len, sent)) > sum(map(len, narrate(Scripted(), SEGMENTS[:2])[1])) + 20 * FRAME


def test_the_second_retry_takes_smaller_pieces_whose_parts_continue_each_other() -> None:
    engine = Scripted(lambda text, number: [sound(8), looped([5], 60)] if text == SENTENCES[2] else spoken(text))
    narration, _ = narrate(engine)
    pieces = engine.texts[4:-9]
    assert engine.texts[2:4] == [SENTENCES[2]] * 2 and len(pieces) >= 2
    assert " ".join(pieces) == SENTENCES[2]
    assert narration.finish_reason == "stop" and narration.retries == 2
    second = engine.asked[5][0]
    assert second.said[-1].text == pieces[0]


def test_the_best_of_all_takes_is_sent_where_none_is_good_and_the_reason_is_told() -> None:
    def turn(text: str, number: int) -> Frames:
        if text not in SENTENCES[2]:
            return spoken(text)
        return [sound(8), looped([5], 60)] if number == 0 and text == SENTENCES[2] else [sound(30, seed=9), silence(40)]

    engine = Scripted(turn)
    narration, sent = narrate(engine, SEGMENTS[:4])
    assert narration.finish_reason == "silence" and narration.retries == 1 + MAX_RETRIES
    frame = sound(30, seed=9).samples[FRAME : 2 * FRAME]
    whole = np.concatenate(sent)
    places = np.flatnonzero(whole[:-FRAME] == frame[0])
    assert any(np.array_equal(whole[place : place + FRAME], frame) for place in places)
    # What went wrong is no context for what follows.
    assert [turn.text for turn in engine.asked[-1][0].said] == SENTENCES[:2]


def test_the_first_segment_is_sent_at_once_and_not_made_again() -> None:
    engine = Scripted(lambda text, number: [sound(20), silence(60)] if text == SENTENCES[0] else spoken(text))
    narration, _ = narrate(engine)
    assert engine.texts == SENTENCES and narration.finish_reason == "silence"
    whole = Scripted(engine.turn)
    narration, _ = narrate(whole, delivery=replace(DELIVERY, stream=False))
    assert whole.texts[:2] == [SENTENCES[0]] * 2


def test_a_segment_that_was_sent_without_all_of_its_words_is_told() -> None:
    """At more than 25 characters a second, words must be missing, even if the model ended the turn."""
    narration, _ = narrate(Scripted(lambda text, number: [sound(max(1, len(text) // 5))]), SEGMENTS[:1])
    assert narration.finish_reason == "silence" and narration.retries == 0


def test_a_first_segment_of_which_nothing_was_heard_is_made_again() -> None:
    engine = Scripted(lambda text, number: [] if number == 0 else spoken(text))
    narration, sent = narrate(engine, SEGMENTS[:1])
    assert len(engine.asked) == 2 and sent and narration.finish_reason == "stop"


def test_an_engine_that_says_nothing_at_all_is_an_error_with_advice() -> None:
    with pytest.raises(GenerationFailed, match="rephrase"):
        narrate(Scripted(lambda text, number: []))


def test_a_segment_is_not_held_back_once_the_client_has_little_left_to_play() -> None:
    """A slow engine: each frame takes twice as long as it plays. Nothing may wait for the end of its segment."""
    now = [0.0]
    made = [0]

    class Slow(Scripted):
        def _chunks(self, *given: Any) -> Generator[Chunk, None, None]:
            for chunk in super()._chunks(*given):
                now[0] += 2 * len(chunk.codes) / FRAME_RATE
                made[0] += len(chunk.codes)
                yield chunk

    sent = 0
    narration = narration_of(Slow(), clock=lambda: now[0])
    lags = []
    for samples in narration.speak(script([Segment(text, 0.0) for text in SENTENCES[:4]])):
        sent += len(samples)
        lags.append(made[0] - sent / FRAME)
    assert max(lags[:-1]) <= 5


def test_a_fast_engines_segment_is_held_until_it_is_whole() -> None:
    engine = Scripted()
    speaking = narration_of(engine, clock=lambda: 0.0).speak(script(SEGMENTS[:2]))
    seen = []
    for _ in speaking:
        seen.append((len(engine.asked), engine.closed))
    assert (2, 1) not in seen and (2, 2) in seen


@pytest.mark.parametrize("limit", [0.5, 4.0, 4.00001, 9.0, 30.0, 3 * 1.1])
def test_the_limit_of_the_request_is_kept_to_the_sample_and_told(limit: float) -> None:
    engine = Scripted()
    narration, sent = narrate(engine, delivery=replace(DELIVERY, max_seconds=limit))
    assert sum(map(len, sent)) == round(limit * RATE)
    assert narration.finish_reason == "length" and narration.retries == 0
    assert all(frames <= round(limit * FRAME_RATE) for _, _, frames in engine.asked)


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    narration, sent = narrate(Scripted(), delivery=replace(DELIVERY, max_seconds=600.0))
    unlimited = narrate(Scripted())[1]
    assert narration.finish_reason == "stop" and sum(map(len, sent)) == sum(map(len, unlimited))


def test_frames_are_capped_by_the_text_and_by_the_setting() -> None:
    engine = Scripted()
    narrate(engine, SEGMENTS[:1])
    list(narration_of(engine, max_segment_seconds=3.0).speak(script(SEGMENTS[:1])))
    assert [frames for _, _, frames in engine.asked] == [round(max_seconds(SENTENCES[0]) * FRAME_RATE), 38]
    assert engine.asked[0][1].min_frames > 0


def test_the_same_seed_gives_the_same_audio() -> None:
    engine = Scripted()
    first, second = (np.concatenate(narrate(engine)[1]) for _ in range(2))
    assert np.array_equal(first, second)
    seeds = [sampling.seed for _, sampling, _ in engine.asked]
    assert seeds[:12] == seeds[12:] and min(seeds) == 100


@pytest.mark.parametrize("ended", [0, 1])
def test_a_client_that_disconnects_stops_within_and_between_segments(ended: int) -> None:
    disconnected = threading.Event()
    engine = Scripted()
    speaking = narration_of(engine, is_disconnected=disconnected.is_set).speak(script(SEGMENTS))
    next(speaking)
    while engine.closed < ended:
        next(speaking)
    assert len(engine.asked) == 1
    disconnected.set()
    with pytest.raises(Cancelled):
        list(speaking)
    assert engine.closed == len(engine.asked) == 1 + ended


def test_closing_a_narration_closes_the_generation() -> None:
    engine = Scripted()
    speaking: Any = narration_of(engine).speak(script(SEGMENTS))
    next(speaking)
    speaking.close()
    assert engine.closed == len(engine.asked) == 1


def test_ten_thousand_characters_are_spoken_whole() -> None:
    segments = [Segment(SENTENCES[number % 12], 0.2) for number in range(160)]
    engine = Scripted()
    began = time.process_time()
    narration, _ = narrate(engine, segments)
    assert narration.finish_reason == "stop" and len(engine.texts) == 160
    print(f"{time.process_time() - began:.1f} s of processor time for {sum(len(s.text) for s in segments)} characters")


def test_the_history_is_left_out_where_the_context_has_no_room_for_it() -> None:
    engine = Scripted(refuses=lambda conversation: len(conversation.said) > 1)
    narration, _ = narrate(engine)
    assert engine.texts == SENTENCES and narration.finish_reason == "stop"
    assert max(len(conversation.said) for conversation, _, _ in engine.asked) == 1


def test_old_turns_are_dropped_in_blocks_where_the_context_is_full_but_never_the_voice() -> None:
    engine = Scripted(refuses=lambda conversation: len(conversation.said) > 5)
    narration = Narration(engine, History([REFERENCE]), DELIVERY, MAX_SEGMENT_SECONDS, lambda: False)
    list(narration.speak(script(SEGMENTS)))
    assert [len(conversation.said) for conversation, _, _ in engine.asked] == [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5]
    assert all(conversation.context == (REFERENCE,) for conversation, _, _ in engine.asked)


def test_a_text_that_does_not_fit_at_all_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        narrate(Scripted(refuses=lambda conversation: True))


def test_a_client_that_has_audio_already_waits_for_its_turn_however_long() -> None:
    engine = Scripted()
    narrate(engine)
    assert engine.deadlines == [True] + [False] * 11


def test_silence_at_the_beginning_is_sent_with_the_first_audio() -> None:
    narration = narration_of(Scripted(lambda text, number: []))
    with pytest.raises(GenerationFailed):
        next(narration.speak(script(SEGMENTS, 1.0)))
    sent = list(narration_of(Scripted()).speak(script(SEGMENTS[:1], 1.0)))
    assert len(sent[0]) > RATE and not sent[0][:RATE].any() and sent[0][RATE:].any()


@pytest.mark.parametrize(("limit", "advice"), [(0.16, "raise it"), (None, "rephrase")])
def test_a_turn_of_nothing_but_silence_is_tried_again_and_then_an_error(limit: float | None, advice: str) -> None:
    delivery = replace(DELIVERY, max_seconds=limit)
    engine = Scripted(lambda text, number: [silence(10)] if number == 0 else spoken(text))
    assert narrate(engine, SEGMENTS[:1], delivery)[1]
    with pytest.raises(GenerationFailed, match=advice):
        narrate(Scripted(lambda text, number: [silence(40)]), SEGMENTS[:1], delivery)
