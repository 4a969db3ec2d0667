"""Room for requests whose bodies are on their way."""

import threading
import time
from collections.abc import Callable

from csm.web.connection import Environ

SECONDS = 1.0
"""That a place is kept for a body. A caller on a slow line takes what is free when the body has come."""

LEAVE = "csm.lobby"
"""In the environment of a request that was let in before the application saw it: what it calls to leave."""


class Lobby:
    """Who was let in and is about to ask the synthesizer; a crowd would be let in as one, and read in vain.

    A caller who is found to be over a quota was in here for as long as that took to find out.

    Args:
        check: raises `Unavailable` where there is no place beside so many others.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self._check, self._lock = check, threading.Lock()
        self._until: dict[object, float] = {}

    def enter(self) -> Callable[[], None]:
        """Keep a place; the caller calls the result, once or more often, when it is not needed any longer.

        Raises:
            Unavailable: there is none, or none beside those who are here.
        """
        guest, now = object(), time.monotonic()
        with self._lock:
            self._until = {other: until for other, until in self._until.items() if until > now}
            self._check(len(self._until))
            self._until[guest] = now + SECONDS
        return lambda: self._leave(guest)

    def admit(self, environ: Environ) -> Callable[[], None]:
        """`enter`, unless that has been done for this request.

        Raises:
            Unavailable: see `enter`.
        """
        leave: Callable[[], None] | None = environ.get(LEAVE)
        return leave or self.enter()

    def _leave(self, guest: object) -> None:
        with self._lock:
            self._until.pop(guest, None)
