"""POST /clone-voice: a sample and a text in, the text in the sample's voice out."""

from collections.abc import Callable

from flask import Blueprint, Response, request

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access, fields, streaming, uploads
from csm.web.connection import hang_up
from csm.web.problems import InvalidField

NAME = "clone"


def turn_away(synthesizer: Synthesizer) -> Callable[[], None]:
    """A check before requests: while there is no place, they need neither be read nor counted against a quota."""

    def check() -> None:
        if request.blueprint == NAME:
            synthesizer.check()

    return check


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """The one resource that speaks."""
    routes = Blueprint(NAME, __name__)

    @routes.post("/clone-voice")
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
        return (
            streaming.chunked(chunks, entry, request.environ)
            if streamed
            else streaming.whole(chunks, entry, request.environ)
        )

    return routes
