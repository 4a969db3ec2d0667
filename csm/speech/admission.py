"""Count the requests that are being served, and refuse those over capacity."""

import threading
from typing import Self

from csm.errors import Busy


class Admission:
    """Grants at most `slots + queue` reservations at a time; never blocks.

    Args:
        slots: generations that run at once.
        queue: further requests that may wait for a slot.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._slots, self._capacity = slots, slots + queue
        self._lock = threading.Lock()
        self._held: set[Reservation] = set()
        self._typical_seconds = 5.0

    @property
    def reserved(self) -> int:
        """Number of reservations granted and not yet released."""
        return len(self._held)

    def reserve(self) -> "Reservation":
        """Reserve capacity for one request.

        Raises:
            Busy: all capacity is reserved; the error carries the seconds after which to try again.
        """
        reservation = Reservation(self)
        with self._lock:
            if len(self._held) >= self._capacity:
                raise Busy("all slots and the queue are taken: try again later", self._typical_seconds / self._slots)
            self._held.add(reservation)
        return reservation

    def release(self, reservation: "Reservation") -> None:
        """Free the capacity of a reservation; has no effect if it is already free."""
        with self._lock:
            self._held.discard(reservation)

    def observe(self, seconds: float) -> None:
        """Record how long a request took; `Retry-After` of later refusals is estimated from that."""
        with self._lock:
            self._typical_seconds += 0.2 * (seconds - self._typical_seconds)


class Reservation:
    """The capacity of one request, from before its body is read until its answer ends.

    The request's handler, the generation that it is passed to and the response may each release it; whichever is first
    frees the capacity.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def release(self) -> None:
        """Free the capacity; further calls have no effect."""
        self._admission.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
