"""POST /clone-voice: takes reference audio and a text, and answers with the text spoken in that voice."""

from flask import Blueprint, Response, request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, capacity, disconnect, forms, rate_limit, responses
from csm.web.problems import InvalidField
from csm.web.schemas import CloneForm

NAME = "clone"


def blueprint(settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)

    @routes.post("/clone-voice")
    def clone() -> Response:
        if request.args:
            # Proxies and browsers log URLs; and a field in the URL would be ignored silently.
            raise InvalidField("", "Send the fields in the form, not in the address.")
        utterance = forms.read(request, CloneForm, settings).utterance()
        rate_limit.charge(limiter, settings, len(utterance.text))
        entry = access_log.current()
        entry.noted.update(reference_bytes=len(utterance.reference), text_chars=len(utterance.text))
        speech = synthesizer.speak(utterance, capacity.current(), disconnect.watch(request.environ))
        answer = responses.streamed if utterance.stream else responses.whole
        return answer(speech, entry, request.environ)

    return routes
