"""Arrivals do not wait for earlier answers, and playback is measured as a listener hears it."""

import threading
import time

import numpy as np
import pytest

from benchmarks.open_loop import REPEATED_VOICES, Order, RefusedError, Sweep, offer, orders, sweep
from benchmarks.playback import Answer, is_clean, percentiles, play, summary

RATE = 1000
LOUD, SILENT = np.full(100, 0.5, np.float32), np.zeros(100, np.float32)


def dues(*seconds: float) -> list[Order]:
    return [Order(due, "Hello.", 0) for due in seconds]


def test_arrivals_are_drawn_beforehand_and_repeat():
    drawn = orders(20, 100, seed=1)
    assert drawn == orders(20, 100, seed=1) != orders(20, 100, seed=2)
    assert len(drawn) == pytest.approx(2000, rel=0.1)
    gaps = np.diff([order.due for order in drawn])
    # Of an exponential distribution, mean and standard deviation are the same.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def test_some_voices_return_and_some_are_new():
    voices = [order.voice for order in orders(20, 100, seed=1)]
    new = [voice for voice in voices if voice >= REPEATED_VOICES]
    assert len(new) == len(set(new)) == pytest.approx(400, rel=0.2)
    assert set(voices) - set(new) == set(range(REPEATED_VOICES))


def test_requests_do_not_wait_for_earlier_answers():
    sent, overtaken, first_may_end = [], [], threading.Event()

    def client(order):
        def send():
            sent.append(order)
            if len(sent) == 1:
                overtaken.append(first_may_end.wait(20))
            else:
                first_may_end.set()
            yield LOUD

        return send

    first, second = offer(client, dues(0.0, 0.1), RATE)
    assert overtaken == [True]
    # The first was answered only after the second was sent; its time counts from when it was due.
    assert first.pieces[0][0] >= 0.1
    assert first.outcome == second.outcome == "played"


def test_the_wait_of_a_request_sent_late_counts_from_when_it_was_due():
    def client(order):
        def send():
            yield LOUD

        return send

    (answer,) = offer(client, dues(-3.0), RATE)
    assert answer.late >= 3 and answer.pieces[0][0] >= 3


def test_silence_before_the_voice_does_not_count_as_first_audio():
    def client(order):
        def send():
            yield SILENT
            yield np.concatenate([SILENT[:50], LOUD])

        return send

    (answer,) = offer(client, dues(0.0), RATE)
    assert answer.first_audible == pytest.approx(0.150)


@pytest.mark.parametrize(
    ("error", "outcome"), [(RefusedError(), "refused"), (OSError("torn"), "OSError: torn"), (None, "no sound came")]
)
def test_requests_without_audio_are_counted_by_kind(error, outcome):
    def client(order):
        def send():
            if error:
                raise error
            yield from ()

        return send

    answers = offer(client, dues(0.0), RATE)
    assert [answer.outcome for answer in answers] == [outcome]
    told = summary(answers, buffer=0)
    assert (told["played"], told["refused"], told["failed"]) == (0, outcome == "refused", outcome != "refused")
    assert not is_clean(told)


def test_a_player_that_runs_dry_counts_the_silence():
    answer = Answer(pieces=[(1.0, 0.5), (1.2, 0.5), (2.3, 0.5), (2.5, 0.5)], first_audible=0.0)
    assert play(answer, buffer=0) == play(answer, buffer=0.5)
    playback = play(answer, buffer=0)
    assert playback.audible == 1.0
    assert playback.gaps == pytest.approx((0.3,))


def test_a_buffer_delays_the_first_sound_and_covers_the_gap():
    answer = Answer(pieces=[(1.0, 0.5), (1.2, 0.5), (2.3, 0.5), (2.5, 0.5)], first_audible=0.0)
    playback = play(answer, buffer=1.5)
    assert (playback.audible, playback.gaps) == (2.3, ())
    assert play(answer, buffer=9).audible == 2.5


def test_a_gap_delays_the_audio_after_it():
    answer = Answer(pieces=[(1.0, 0.5), (2.0, 1.0)], first_audible=0.75)
    assert play(answer, buffer=0).audible == pytest.approx(2.25)


def test_an_answer_that_is_silent_throughout_has_no_first_audio():
    told = summary([Answer(pieces=[(1.0, 0.5)])], buffer=0)
    assert (told["silent"], told["audible_s"]) == (1, {})


def test_percentiles():
    assert percentiles([]) == {}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert percentiles([*range(101)]) == pytest.approx({"p50": 50, "p95": 95, "p99": 99})


def test_a_sweep_ends_at_the_first_rate_that_is_too_high():
    lock = threading.Lock()

    def client(order):
        def send():
            # A capacity of one.
            if not lock.acquire(blocking=False):
                raise RefusedError
            time.sleep(0.15)
            lock.release()
            yield LOUD

        return send

    rows = [*sweep(client, Sweep((0.2, 50.0, 100.0), seconds=2.0, seed=5), RATE)]
    assert [row["rate"] for row in rows] == [0.2, 50.0]
    assert rows[-1]["refused"] and not is_clean(rows[-1])


def test_no_rate_begins_that_could_not_end_in_time():
    rows = [*sweep(lambda order: lambda: iter([LOUD]), Sweep((20.0, 30.0, 40.0), 0.5, until=1.2), RATE)]
    assert [row["rate"] for row in rows] == [20.0]
