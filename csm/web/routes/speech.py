"""POST /v1/audio/speech: OpenAI's endpoint for speech, in a stored voice or that of reference audio."""

import dataclasses

from flask import Blueprint, Response, request
from flask_limiter import Limiter

from csm.audio.encoders import make_encoder
from csm.settings import Settings
from csm.speech import SAMPLE_RATE, Synthesizer
from csm.web import access_log, event_stream, forms, responses, speaking
from csm.web.openapi import AUDIO, JSON, SPEECH_ERRORS, Operation, describe
from csm.web.routes import models
from csm.web.schemas.speech import SpeechRequest

NAME = "speech"

SPEECH = dataclasses.replace(AUDIO, content={**AUDIO.content, event_stream.MEDIA_TYPE: event_stream.Event})


def blueprint(settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__, url_prefix="/v1/audio")

    @routes.post("/speech")
    @describe(
        Operation("Speak a text, as OpenAI's endpoint", {200: SPEECH}, SpeechRequest, (JSON,), (404, *SPEECH_ERRORS))
    )
    def create_speech() -> Response:
        body = forms.read_json(request, SpeechRequest, settings)
        models.check(synthesizer, body.model)
        fmt = responses.choose_format(body.response_format, request.accept_mimetypes, "mp3")
        speech = speaking.speak(body.utterance(), settings, synthesizer, limiter)
        is_sse = body.stream_format == "sse"
        events = event_stream.EventEncoder(make_encoder(fmt, SAMPLE_RATE), len(body.input)) if is_sse else None
        return responses.streamed(speech, fmt, access_log.current(), request.environ, events)

    return routes
