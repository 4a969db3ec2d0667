"""Reserve capacity for each request that uses the model, before its body is read or its quota is charged."""

from collections.abc import Set

from flask import Flask, Response, g, request

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
