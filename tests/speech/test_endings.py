"""Each rule about endings fires on its own case, and none on good ones."""

import numpy as np
import pytest

from csm.audio.waveform import Samples
from csm.engine.api import Chunk
from csm.speech import endings
from csm.speech.endings import EndingDetector, max_seconds, min_frames, says_all
from tests.speech.frames import FRAME, FRAME_RATE, RATE, looped, silence, sound

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank."


def watched(*chunks: Chunk, size: int = 8) -> tuple[EndingDetector, Samples]:
    """Push frames in chunks of some size until the detector has seen enough; return it and what can be sent."""
    detector = EndingDetector(RATE, FRAME_RATE)
    codes = np.concatenate([chunk.codes for chunk in chunks])
    samples = np.concatenate([chunk.samples for chunk in chunks])
    sent = []
    for start in range(0, len(codes), size):
        sent.append(detector.push(Chunk(codes[start : start + size], samples[start * FRAME : (start + size) * FRAME])))
        if detector.reason is not None:
            break
    sent.append(detector.finish())
    return detector, np.concatenate(sent)


GOOD = {
    "short": [sound(6)],
    "long": [sound(300)],
    "pause of 1.04 s": [sound(20), silence(13), sound(20, seed=1)],
    "many pauses": [part for seed in range(6) for part in (sound(15, seed=seed), silence(8))],
    "silence first": [silence(12), sound(30)],
    "silence last": [sound(30), silence(12)],
    "quiet speech": [sound(40, level=0.01)],
    "loud speech": [sound(40, level=0.7)],
    "a held vowel": [sound(10), looped([5], 12), sound(10, seed=2)],
    "a word said three times": [sound(10), looped([*range(30, 38)], 24), sound(10, seed=3)],
}


@pytest.mark.parametrize("case", GOOD)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_no_rule_fires_on_good_takes(case: str, size: int) -> None:
    detector, _ = watched(*GOOD[case], size=size)
    assert detector.reason is None


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([sound(20), silence(25)], "silence"),
        ([sound(20), silence(25), sound(20)], "silence"),
        ([silence(25)], "silence"),
        ([sound(10), looped([5], 26)], "repeat"),
        ([sound(10), looped([5, 9, 3], 40)], "repeat"),
        ([sound(10), looped([*range(40, 65)], 60)], "repeat"),
    ],
)
@pytest.mark.parametrize("size", [1, 8])
def test_silence_and_loops_end_a_take(chunks: list[Chunk], reason: str, size: int) -> None:
    assert watched(*chunks, size=size)[0].reason == reason


@pytest.mark.parametrize("size", [1, 3, 8])
def test_all_sound_is_sent_and_silence_only_between_sounds(size: int) -> None:
    before, between, after = silence(9), silence(10), silence(20)
    first, second = sound(12), sound(14, seed=1)
    detector, sent = watched(before, first, between, second, after, size=size)
    kept = [before.samples[:FRAME], first.samples, between.samples, second.samples]
    expected = np.concatenate([*kept, after.samples[: round(endings.TAIL_SECONDS * RATE)]])
    assert np.array_equal(sent, expected)
    assert detector.spoken_seconds == pytest.approx(26 * 0.08)


def test_of_a_silent_take_nothing_is_sent() -> None:
    detector, sent = watched(silence(40))
    assert len(sent) == 0 and detector.spoken_seconds == 0


def test_after_a_loop_was_found_no_further_frame_is_sent() -> None:
    _, sent = watched(looped([5], 200))
    assert len(sent) < 40 * FRAME


@pytest.mark.parametrize(("seconds", "whole"), [(1.0, False), (2.0, False), (2.7, True), (6.0, True)])
def test_a_sentence_needs_a_time_in_which_people_can_say_it(seconds: float, whole: bool) -> None:
    assert says_all(SENTENCE, seconds) is whole


def test_floor_and_cap_leave_room_for_every_pace_between() -> None:
    people = [len(SENTENCE) / pace for pace in (10, 15, 20)]
    assert min_frames(SENTENCE, FRAME_RATE) / FRAME_RATE < min(people)
    assert max_seconds(SENTENCE) > max(people)
    assert max_seconds("1234567890") > 5
    assert 1 < max_seconds("Yes.") < 5
    assert min_frames("", FRAME_RATE) == 0
