"""POST /watermark: tells whether a recording carries the watermark of this server's speech."""

import threading

from flask import Blueprint, request
from typing_extensions import TypedDict

from csm.errors import Busy
from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, forms
from csm.web.openapi import JSON, Answer, Operation, describe
from csm.web.schemas.watermark import WatermarkForm

NAME = "watermark"

MAX_AT_ONCE = 2
"""Recordings that are examined at once, beside the requests that speak."""


class WatermarkReport(TypedDict):
    """Whether a recording is marked, with which confidence (0 to 1), and how many seconds of it were examined."""

    marked: bool
    confidence: float
    seconds: float


REPORT = Answer("Whether the recording is marked.", {JSON: WatermarkReport})


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)
    places = threading.BoundedSemaphore(MAX_AT_ONCE)

    @routes.post("/watermark")
    @describe(Operation("Tell whether a recording is marked", {200: REPORT}, WatermarkForm, errors=(429, 503, 504)))
    def detect_watermark() -> WatermarkReport:
        # Before the body is read, as for requests that speak.
        if not places.acquire(blocking=False):
            raise Busy("Other recordings are being examined; try again.", retry_after=2)
        try:
            recording = forms.read(request, WatermarkForm, settings).audio
            access_log.current().noted["reference_bytes"] = len(recording)
            found = synthesizer.detect_watermark(recording)
        finally:
            places.release()
        # One decimal: with more, whoever removes the mark could measure each attempt.
        return {"marked": found.marked, "confidence": round(found.confidence, 1), "seconds": round(found.seconds, 2)}

    return routes
