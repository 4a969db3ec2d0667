"""POST /clone-voice: reference audio and a text in, the text in that voice out."""

from flask import Blueprint, Response, request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, capacity, disconnect, fields, forms, rate_limit, responses
from csm.web.problems import InvalidField

NAME = "clone"


def blueprint(settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Blueprint:
    """Return the route, around a synthesizer."""
    routes = Blueprint(NAME, __name__)

    @routes.post("/clone-voice")
    def clone() -> Response:
        if request.args:
            # Proxies and browsers log addresses; besides, a field there would be ignored without a word.
            raise InvalidField("", "Send the fields in the form, not in the address.")
        form, reference = forms.parts(request, fields.TEXTS, fields.FILE)
        fields.refuse_unknown(form)
        utterance = fields.utterance(form, reference, settings)
        rate_limit.charge(limiter, settings, len(utterance.text))
        entry = access_log.current()
        entry.noted.update(reference_bytes=len(reference), text_chars=len(utterance.text))
        speech = synthesizer.speak(utterance, capacity.current(), disconnect.watch(request.environ))
        answer = responses.streamed if utterance.stream else responses.whole
        return answer(speech, entry, request.environ)

    return routes
