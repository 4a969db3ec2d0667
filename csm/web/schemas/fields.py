"""Fields that several bodies have: their ranges, descriptions, and rules."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.speech import Delivery
from csm.web.validation import Body, rule_error, settings_of

MAX_VOICE_CHARS = 200

Temperature = Annotated[float, Field(ge=0, le=2, description="Of sampling; 0 always takes the most likely code.")]
TopK = Annotated[int, Field(ge=1, le=2051, description="Number of most likely codes that each draw chooses from.")]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, description="Makes the result repeatable; absent, it is random.")]
# From one frame to an hour.
MaxSeconds = Annotated[
    float, Field(ge=0.08, le=3600, description="Maximum length of the audio; absent, as long as the text needs.")
]
Speed = Annotated[
    float, Field(ge=MIN_SPEED, le=MAX_SPEED, description="Of the speech, with the pitch kept; 2 halves the duration.")
]
FormatName = Annotated[
    Literal["wav", "mp3", "opus", "aac", "flac", "pcm"],
    Field(description="Of the answer; pcm is 16 bits, little-endian, mono, 24 kHz, without a header."),
]
Consent = Annotated[
    Annotated[bool, Field(json_schema_extra={"const": True})] | None,
    Field(description="True states that the speaker of the reference audio has agreed; some servers require it."),
]


def _name_of_voice(value: Any) -> str | None:
    name = value["id"] if isinstance(value, dict) and value.keys() == {"id"} else value
    if not isinstance(name, str) or len(name) > MAX_VOICE_CHARS:
        raise rule_error('must be the name or the id of a voice, or {"id": "…"}')
    return name.strip() or None


_VOICE_NAME = {"type": "string", "maxLength": MAX_VOICE_CHARS}
_VOICE_ID = {"type": "object", "properties": {"id": _VOICE_NAME}, "required": ["id"], "additionalProperties": False}

OpenAIVoice = Annotated[
    str | None, BeforeValidator(_name_of_voice), WithJsonSchema({"anyOf": [_VOICE_NAME, _VOICE_ID, {"type": "null"}]})
]
"""A voice as OpenAI's clients name it."""

StoredVoiceName = Annotated[
    str | None,
    BeforeValidator(_name_of_voice),
    WithJsonSchema({"anyOf": [_VOICE_NAME | {"pattern": r"\S"}, {"type": "null"}]}),
]
"""A voice as the other routes name it."""


def delivery(body: Body) -> dict[str, Any]:
    """Return those fields of a body that say how to speak; they have the names of `csm.speech.Delivery`'s."""
    return {part.name: getattr(body, part.name) for part in fields(Delivery) if part.name in type(body).model_fields}


def check_consent(consent: bool | None, info: ValidationInfo, *, has_audio: bool) -> None:
    """Refuse consent=false, and reference audio without consent where the server requires it."""
    if consent is False or (has_audio and consent is None and settings_of(info).require_consent):
        raise rule_error("must be true: it states that the speaker of the reference audio has agreed", "consent")
