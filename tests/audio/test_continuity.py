"""The player that is simulated for each streamed answer."""

from csm.audio.continuity import BUFFER_SECONDS, SimulatedPlayer


def play(*pieces: tuple[float, float]) -> SimulatedPlayer:
    """Play pieces of audio, each with the time at which it is sent and its duration."""
    times = iter([time for time, _ in pieces])
    player = SimulatedPlayer(clock=lambda: next(times))
    for _, seconds in pieces:
        player.receive(seconds)
    return player


def test_audio_that_comes_in_time_is_played_without_a_gap():
    player = play((1.0, 0.5), (1.4, 0.5), (1.9, 0.5))
    assert (player.seconds, player.gaps) == (1.5, [])
    assert player.is_continuous


def test_audio_that_comes_late_is_a_gap_and_later_audio_is_played_after_it():
    player = play((0.0, 0.5), (0.75, 0.5), (1.25, 0.25), (2.0, 0.5))
    assert player.gaps == [0.25, 0.5]
    assert not player.is_continuous


def test_short_gaps_are_counted_but_not_heard():
    player = play((0.0, 0.25), (0.3125, 1.0))
    assert player.gaps == [0.0625]
    assert player.is_continuous


def test_playback_begins_when_the_buffer_is_full():
    assert play((0.0, 0.08), (0.15, 0.16), (0.38, 1.0)).gaps == []
    assert len(play((0.0, BUFFER_SECONDS), (0.38, 1.0)).gaps) == 1
