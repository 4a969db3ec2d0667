"""Audio may be held back while the client still plays, and none is sent beyond the request's limit."""

import numpy as np
import pytest

from csm.audio.waveform import Samples
from csm.speech.playback import MIN_AHEAD_SECONDS, Playback

RATE = 24_000


def seconds(count: float) -> Samples:
    return np.ones(round(count * RATE), np.float32)


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_audio_is_held_as_long_as_the_client_has_some_to_play(speed: float) -> None:
    now = [100.0]
    playback = Playback(RATE, None, speed, streamed=True, clock=lambda: now[0])
    assert (playback.has_begun, playback.may_hold()) == (False, False)
    playback.send(seconds(6.0))
    now[0] += 6.0 / speed - MIN_AHEAD_SECONDS - 0.01
    assert (playback.has_begun, playback.may_hold()) == (True, True)
    now[0] += 0.02
    assert not playback.may_hold()
    playback.send(seconds(1.0))
    assert playback.may_hold()


def test_what_is_not_streamed_can_always_be_held() -> None:
    now = [100.0]
    playback = Playback(RATE, None, 1.0, streamed=False, clock=lambda: now[0])
    assert playback.may_hold()
    playback.send(seconds(1.0))
    now[0] += 1000
    assert playback.may_hold()


def test_the_limit_is_kept_to_the_sample() -> None:
    playback = Playback(RATE, 2.5, 1.0, streamed=True)
    assert len(playback.send(seconds(2.0))) == 2 * RATE and playback.left_seconds == 0.5
    assert (playback.reached_limit, playback.was_cut) == (False, False)
    assert len(playback.send(seconds(0.5))) == RATE // 2 and playback.left_seconds == 0
    assert (playback.reached_limit, playback.was_cut) == (True, False)
    assert len(playback.send(seconds(0.5))) == 0
    assert (playback.reached_limit, playback.was_cut) == (True, True)


def test_without_a_limit_nothing_is_cut() -> None:
    playback = Playback(RATE, None, 1.0, streamed=True)
    assert len(playback.send(seconds(100))) == 100 * RATE
    assert playback.left_seconds == float("inf") and not playback.reached_limit and not playback.was_cut
