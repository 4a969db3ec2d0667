"""How many requests are taken on, and when the others should come back."""

import threading
import time

from csm.errors import Busy


class Admission:
    """A bounded number of requests inside; never blocks.

    Args:
        slots: generations at once.
        queue: further requests that may wait.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._slots, self._capacity = slots, slots + queue
        self._lock, self._inside = threading.Lock(), 0
        self._typical_seconds = 5.0

    @property
    def inside(self) -> int:
        """Requests admitted and not yet done."""
        return self._inside

    def check(self, ahead: int = 0) -> None:
        """Take nothing, but say so if there is nothing to take beside so many others.

        Raises:
            Busy: no place is free; with the time after which one may be.
        """
        if self._inside + ahead >= self._capacity:
            raise Busy("all slots and the queue are taken: try again later", self._typical_seconds / self._slots)

    def enter(self) -> "Ticket":
        """Take a place.

        Raises:
            Busy: see `check`.
        """
        with self._lock:
            self.check()
            self._inside += 1
        return Ticket(self)

    def leave(self, seconds: float) -> None:
        """Give a place back after so many seconds."""
        with self._lock:
            self._inside -= 1
            self._typical_seconds += 0.2 * (seconds - self._typical_seconds)


class Ticket:
    """One place, given back exactly once."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission
        self._since = time.monotonic()

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(self, *_: object) -> None:
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(time.monotonic() - self._since)
