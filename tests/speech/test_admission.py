import threading

import pytest

from csm.errors import Busy
from csm.speech.admission import Admission


@pytest.mark.parametrize(("slots", "queue"), [(1, 0), (1, 8), (4, 2)])
def test_exactly_slots_and_queue_are_let_in(slots: int, queue: int) -> None:
    admission = Admission(slots, queue)
    tickets = [admission.enter() for _ in range(slots + queue)]
    with pytest.raises(Busy) as told:
        admission.enter()
    assert told.value.retry_after > 0
    with tickets[0]:
        pass
    assert admission.inside == slots + queue - 1
    assert admission.enter()


def test_a_place_is_given_back_once() -> None:
    admission = Admission(1, 1)
    ticket, other = admission.enter(), admission.enter()
    for _ in range(3):
        ticket.__exit__()
    assert admission.inside == 1
    with pytest.raises(ZeroDivisionError), other:
        raise ZeroDivisionError
    assert admission.inside == 0


def test_who_is_turned_away_comes_back_later_where_requests_take_longer() -> None:
    admission = Admission(1, 0)
    admission.enter()
    admission.leave(seconds=0)
    admission.enter()
    waits = []
    for _ in range(2):
        with pytest.raises(Busy) as told:
            admission.enter()
        waits.append(told.value.retry_after)
        admission.leave(seconds=600)
        admission.enter()
    assert waits[1] > waits[0] + 60


def test_no_more_than_that_are_let_in_by_many_threads() -> None:
    admission, refused, entered = Admission(2, 3), [], []
    together = threading.Barrier(20)

    def come() -> None:
        together.wait(30)
        try:
            entered.append(admission.enter())
        except Busy as busy:
            refused.append(busy)

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(entered) == admission.inside == 5 and len(refused) == 15
