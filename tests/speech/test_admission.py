import threading

import pytest

from csm.errors import Busy
from csm.speech.admission import Admission


@pytest.mark.parametrize(("slots", "queue"), [(1, 0), (1, 8), (4, 2)])
def test_slots_plus_queue_can_be_reserved_and_no_more(slots: int, queue: int) -> None:
    admission = Admission(slots, queue)
    reservations = [admission.reserve() for _ in range(slots + queue)]
    with pytest.raises(Busy) as refused:
        admission.reserve()
    assert refused.value.retry_after > 0
    with reservations[0]:
        pass
    assert admission.reserved == slots + queue - 1
    assert admission.reserve()


def test_a_reservation_is_released_once() -> None:
    admission = Admission(1, 1)
    reservation, other = admission.reserve(), admission.reserve()
    for _ in range(3):
        reservation.release()
    assert admission.reserved == 1
    with pytest.raises(ZeroDivisionError), other:
        raise ZeroDivisionError
    assert admission.reserved == 0


def test_retry_after_grows_with_the_duration_of_requests() -> None:
    admission = Admission(1, 0)
    admission.reserve()
    delays = []
    for seconds in (600, 600):
        with pytest.raises(Busy) as refused:
            admission.reserve()
        delays.append(refused.value.retry_after)
        admission.observe(seconds)
    assert delays[1] > delays[0] + 60


def test_threads_cannot_reserve_or_release_more_than_there_is() -> None:
    admission, refused, reserved = Admission(2, 3), [], []
    together = threading.Barrier(20)

    def reserve() -> None:
        together.wait(30)
        try:
            reserved.append(admission.reserve())
        except Busy as busy:
            refused.append(busy)

    def release() -> None:
        together.wait(30)
        for reservation in reserved:
            reservation.release()

    for act in (reserve, release):
        threads = [threading.Thread(target=act) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        if act is reserve:
            assert len(reserved) == admission.reserved == 5 and len(refused) == 15
    assert admission.reserved == 0
