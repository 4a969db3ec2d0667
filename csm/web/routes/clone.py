"""POST /clone-voice: takes reference audio or the name of a stored voice, and answers with a text spoken in it."""

from flask import Blueprint, Response, request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, forms, responses, speaking
from csm.web.openapi import AUDIO, SPEECH_ERRORS, Operation, describe
from csm.web.problems import InvalidField
from csm.web.schemas.clone import CloneForm

NAME = "clone"


def blueprint(settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)

    @routes.post("/clone-voice")
    @describe(Operation("Speak a text in a voice", {200: AUDIO}, CloneForm, errors=(404, *SPEECH_ERRORS)))
    def clone_voice() -> Response:
        if request.args:
            # Proxies and browsers log URLs; and a field in the URL would be ignored silently.
            raise InvalidField("", "Send the fields in the form, not in the address.")
        form = forms.read(request, CloneForm, settings)
        utterance, fmt = form.utterance(), responses.choose_format(form.format, request.accept_mimetypes)
        speech = speaking.speak(utterance, settings, synthesizer, limiter)
        answer = responses.streamed if utterance.stream else responses.whole
        return answer(speech, fmt, access_log.current(), request.environ)

    return routes
