"""POST /conversation: takes turns of several speakers, and answers with those that are to be spoken."""

import dataclasses

from flask import Blueprint, Response, request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, forms, parts, responses, speaking
from csm.web.openapi import AUDIO, FORM, JSON, SPEECH_ERRORS, Operation, describe
from csm.web.schemas.conversation import ConversationBody

NAME = "conversations"

SPEECH = dataclasses.replace(AUDIO, content={**AUDIO.content, parts.MEDIA_TYPE: parts.Line})


def blueprint(settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)

    @routes.post("/conversation")
    @describe(
        Operation("Speak turns of a conversation", {200: SPEECH}, ConversationBody, (JSON, FORM), (404, *SPEECH_ERRORS))
    )
    def converse() -> Response:
        read = forms.read if request.mimetype == "multipart/form-data" else forms.read_json
        body = read(request, ConversationBody, settings)
        fmt = responses.choose_format(body.format, request.accept_mimetypes)
        speech = speaking.converse(body.dialogue(), settings, synthesizer, limiter)
        entry = access_log.current()
        if body.parts:
            return responses.streamed(speech, fmt, entry, request.environ, parts.PartsEncoder(fmt, speech.notes))
        answer = responses.streamed if body.stream else responses.whole
        return answer(speech, fmt, entry, request.environ)

    return routes
