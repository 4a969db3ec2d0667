"""POST /watermark: tells whether a recording carries the watermark of this server's speech."""

from flask import Blueprint, request
from typing_extensions import TypedDict

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, forms
from csm.web.capacity import Places
from csm.web.openapi import JSON, Answer, Operation, describe
from csm.web.schemas.watermark import WatermarkForm

NAME = "watermark"


class WatermarkReport(TypedDict):
    """Whether a recording is marked, with which confidence (0 to 1), and how many seconds of it were examined."""

    marked: bool
    confidence: float
    seconds: float


REPORT = Answer("Whether the recording is marked.", {JSON: WatermarkReport})


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)
    places = Places()

    @routes.post("/watermark")
    @describe(Operation("Tell whether a recording is marked", {200: REPORT}, WatermarkForm, errors=(429, 503, 504)))
    def detect_watermark() -> WatermarkReport:
        with places.take():
            recording = forms.read(request, WatermarkForm, settings).audio
            access_log.current().noted["reference_bytes"] = len(recording)
            found = synthesizer.detect_watermark(recording)
        # One decimal: with more, whoever removes the mark could measure each attempt.
        return {"marked": found.marked, "confidence": round(found.confidence, 1), "seconds": round(found.seconds, 2)}

    return routes
