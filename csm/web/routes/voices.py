"""/v1/audio/voices: stored voices, each of which belongs to the key that made it, or to everybody."""

from typing import Any, Literal

from flask import Blueprint, Response, request
from typing_extensions import TypedDict

from csm.settings import Settings
from csm.speech import Synthesizer, VoiceInfo
from csm.web import access_log, auth, disconnect, forms
from csm.web.openapi import FORM, JSON, SPEECH_ERRORS, Answer, Operation, describe
from csm.web.schemas.voices import VoiceForm, VoiceImportForm, VoiceRename

NAME = "voices"
RESERVING = frozenset({f"{NAME}.create_voice", f"{NAME}.import_voice"})
"""Endpoints that decode and encode audio, and hold a reservation meanwhile."""

MEDIA_TYPE = "application/vnd.safetensors"


class Voice(TypedDict):
    """A stored voice."""

    id: str
    object: Literal["audio.voice"]
    name: str
    created_at: int
    shared: bool
    seconds: float
    transcript: str
    transcript_source: Literal["given", "recognized", "none"]
    consent: str
    consented_at: int
    report: dict[str, Any]


class VoiceList(TypedDict):
    """The voices that a key can use."""

    object: Literal["list"]
    data: list[Voice]


ONE = Answer("The voice.", {JSON: Voice})
BINARY = {"type": "string", "format": "binary"}
READ_ERRORS = (429, 503)
CHANGE_ERRORS = (409, *READ_ERRORS, 507)

LIST = Operation(
    "List the voices of this key, then the shared ones",
    {200: Answer("The voices.", {JSON: VoiceList})},
    errors=READ_ERRORS,
)
CREATE = Operation(
    "Make a voice of one or several recordings", {201: ONE}, VoiceForm, errors=(*SPEECH_ERRORS, 409, 507)
)
IMPORT = Operation("Store a voice that was exported", {201: ONE}, VoiceImportForm, errors=(*SPEECH_ERRORS, 409, 507))
GET = Operation("Look up a voice", {200: ONE}, errors=READ_ERRORS)
RENAME = Operation("Rename a voice", {200: ONE}, VoiceRename, media_types=(JSON, FORM), errors=CHANGE_ERRORS)
DELETE = Operation(
    "Delete a voice, with all that was made of it", {204: Answer("It is deleted.")}, errors=CHANGE_ERRORS
)
SAMPLE = Operation(
    "Hear the audio of a voice",
    {200: Answer("The audio that the model hears.", {"audio/wav": BINARY}, ("Content-Disposition",))},
    errors=READ_ERRORS,
)
EXPORT = Operation(
    "Export a voice as a file",
    {200: Answer("The file, for import.", {MEDIA_TYPE: BINARY}, ("Content-Disposition",))},
    errors=READ_ERRORS,
)


def blueprint(settings: Settings, synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the routes."""
    routes = Blueprint(NAME, __name__, url_prefix="/v1/audio/voices")

    @routes.get("")
    @describe(LIST)
    def list_voices() -> VoiceList:
        return {"object": "list", "data": [_voice(info) for info in synthesizer.voices.available(auth.owner())]}

    @routes.post("")
    @describe(CREATE)
    def create_voice() -> tuple[Voice, int]:
        draft = forms.read(request, VoiceForm, settings).draft()
        access_log.current().noted["reference_bytes"] = sum(map(len, draft.recordings))
        watch = disconnect.watch(request.environ)
        return _voice(synthesizer.voices.create(draft, auth.owner(), watch)), 201

    @routes.post("/import")
    @describe(IMPORT)
    def import_voice() -> tuple[Voice, int]:
        form = forms.read(request, VoiceImportForm, settings)
        watch = disconnect.watch(request.environ)
        return _voice(synthesizer.voices.add_file(form.file, auth.owner(), form.name, watch)), 201

    @routes.get("/<voice_id>")
    @describe(GET)
    def get_voice(voice_id: str) -> Voice:
        return _voice(synthesizer.voices.get(auth.owner(), voice_id))

    @routes.patch("/<voice_id>")
    @describe(RENAME)
    def rename_voice(voice_id: str) -> Voice:
        read = forms.read_json if request.mimetype == JSON else forms.read
        name = read(request, VoiceRename, settings).name
        return _voice(synthesizer.voices.rename(auth.owner(), voice_id, name))

    @routes.delete("/<voice_id>")
    @describe(DELETE)
    def delete_voice(voice_id: str) -> Response:
        synthesizer.voices.delete(auth.owner(), voice_id)
        return Response(status=204)

    @routes.get("/<voice_id>/sample")
    @describe(SAMPLE)
    def sample_voice(voice_id: str) -> Response:
        return _file(synthesizer.voices.sample(auth.owner(), voice_id), "voice.wav", "audio/wav")

    @routes.get("/<voice_id>/export")
    @describe(EXPORT)
    def export_voice(voice_id: str) -> Response:
        return _file(synthesizer.voices.export(auth.owner(), voice_id), "voice.safetensors", MEDIA_TYPE)

    return routes


def _voice(info: VoiceInfo) -> Voice:
    return {
        "id": info.id,
        "object": "audio.voice",
        "name": info.name,
        "created_at": info.created_at,
        "shared": info.owner is None,
        "seconds": info.seconds,
        "transcript": info.transcript,
        "transcript_source": info.transcript_source,
        "consent": info.consent,
        "consented_at": info.consented_at,
        "report": info.report,
    }


def _file(content: bytes, name: str, media_type: str) -> Response:
    return Response(content, mimetype=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
