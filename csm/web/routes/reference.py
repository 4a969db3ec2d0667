"""POST /reference: tells what a recording is like as reference audio, and its words, before anything is said in it."""

from typing import Any, Literal

from flask import Blueprint, request
from typing_extensions import TypedDict

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, disconnect, forms
from csm.web.capacity import Places
from csm.web.openapi import JSON, Answer, Operation, describe
from csm.web.schemas.reference import ReferenceForm

NAME = "reference"


class ReferenceReport(TypedDict):
    """What a recording is like: its words, its faults with a remedy each, and what was measured."""

    transcript: str
    transcript_source: Literal["recognized", "none"]
    warnings: list[str]
    report: dict[str, Any]


REPORT = Answer("What the recording is like.", {JSON: ReferenceReport})
EXAMINE = Operation(
    "Tell what a recording is like as reference audio", {200: REPORT}, ReferenceForm, errors=(429, 503, 504)
)


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the route."""
    routes = Blueprint(NAME, __name__)
    places = Places()

    @routes.post("/reference")
    @describe(EXAMINE)
    def examine_reference() -> ReferenceReport:
        with places.take():
            recording = forms.read(request, ReferenceForm, settings).audio
            access_log.current().noted["reference_bytes"] = len(recording)
            found = synthesizer.examine_reference(recording, disconnect.watch(request.environ))
        return {
            "transcript": found.transcript,
            "transcript_source": "recognized" if found.transcript else "none",
            "warnings": list(found.warnings),
            "report": dict(found.report),
        }

    return routes
