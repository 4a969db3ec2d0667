"""Reserve capacity for each request that generates speech, before its body is read or its quota is charged."""

from collections.abc import Container

from flask import Flask, Response, g, request

from csm.speech import Synthesizer
from csm.speech.admission import Reservation


def install(app: Flask, synthesizer: Synthesizer, blueprints: Container[str | None]) -> None:
    """Hold a reservation for each request to the blueprints, until its response is closed."""

    def reserve() -> None:
        if request.blueprint in blueprints:
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
