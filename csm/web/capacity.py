"""Reserve capacity for each request that uses the model, before its body is read or its quota is charged."""

import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager

from flask import Flask, Response, g, request

from csm.errors import Busy
from csm.speech import Synthesizer
from csm.speech.admission import Reservation


def install(app: Flask, synthesizer: Synthesizer, names: Set[str | None]) -> None:
    """Hold a reservation for each request to these blueprints and endpoints, until its response is closed."""

    def reserve() -> None:
        if names & {request.blueprint, request.endpoint}:
            g.reservation = synthesizer.reserve()

    def pass_on(response: Response) -> Response:
        if "reservation" in g:
            response.call_on_close(g.pop("reservation").release)
        return response

    def release(_: BaseException | None) -> None:
        if "reservation" in g:
            g.pop("reservation").release()

    app.before_request(reserve)
    app.after_request(pass_on)
    app.teardown_request(release)


def current() -> Reservation:
    """Return the reservation of the current request."""
    found: Reservation = g.reservation
    return found


class Places:
    """Places for requests that examine a recording; these need the processor, beside the requests that speak.

    Args:
        count: of recordings that are examined at once.
    """

    def __init__(self, count: int = 2) -> None:
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place. To be called before the body is read, as for requests that speak.

        Raises:
            Busy: all places are taken.
        """
        if not self._free.acquire(blocking=False):
            raise Busy("Other recordings are being examined; try again.", retry_after=2)
        try:
            yield
        finally:
            self._free.release()
