"""POST /clone-voice: a sample and a text in, the text in the sample's voice out."""

from collections.abc import Callable

from flask import Blueprint, Flask, Response, g, request

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access, fields, streaming, uploads
from csm.web.connection import hang_up
from csm.web.lobby import Lobby
from csm.web.problems import InvalidField

NAME = "clone"
ROUTE = "/clone-voice"


def turn_away(app: Flask, lobby: Lobby) -> None:
    """Let requests in before they are read and counted against a quota, while there is a place for them."""

    def enter() -> None:
        if request.blueprint == NAME:
            g.leave = lobby.admit(request.environ)

    app.before_request(enter)
    app.teardown_request(lambda _: _leave_lobby())


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """The one resource that speaks."""
    routes = Blueprint(NAME, __name__)

    @routes.post(ROUTE)
    def clone() -> Response:
        if request.args:
            # Proxies and browsers log addresses; besides, a field there would be ignored without a word.
            raise InvalidField("", "Send the fields in the form, not in the address.")
        form, sample = uploads.parts(request, fields.TEXTS, fields.FILE)
        fields.refuse_unknown(form)
        streamed = fields.streamed(form)
        utterance = fields.utterance(form, sample, settings)
        entry = access.current()
        entry.noted.update(sample_bytes=len(sample), text_chars=len(utterance.text))
        chunks = synthesizer.speak(utterance, hang_up(request.environ))
        # Just before the synthesizer counts it; after that, it would be counted twice.
        _leave_lobby()
        return (
            streaming.chunked(chunks, entry, request.environ)
            if streamed
            else streaming.whole(chunks, entry, request.environ)
        )

    return routes


def _leave_lobby() -> None:
    leave: Callable[[], None] | None = g.pop("leave", None)
    if leave is not None:
        leave()
