"""The bodies of requests, one class each: it validates the body, and describes it in the OpenAPI document."""

from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.speech import Delivery, Utterance
from csm.web.validation import Audio, Body, OptionalText, Text, missing_error, rule_error, settings_of

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


class CloneForm(Body):
    """Reference audio or a stored voice, and a text to speak in it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"voice": "default", "text": "Good morning."}]})

    audio: Audio | None = Field(
        None, description="Reference audio in any common format; 5 to 15 seconds are best. Required without `voice`."
    )
    voice: StoredVoiceName = Field(None, description="Id or name of a stored voice, in place of `audio`.")
    text: Text = Field(description="What to say, in English.")
    transcript: OptionalText = Field(None, description="The words of the reference audio; not used with `voice`.")
    temperature: Temperature = 0.9
    top_k: TopK = 50
    seed: Seed | None = None
    max_seconds: MaxSeconds | None = None
    speed: Speed = 1.0
    format: FormatName | None = None
    stream: bool = Field(True, description="Send the audio while it is generated.")
    consent: Consent = None

    @model_validator(mode="after")
    def _has_one_voice(self, info: ValidationInfo) -> Self:
        if self.audio is None and self.voice is None:
            raise missing_error("audio")
        if self.audio is not None and self.voice is not None:
            raise rule_error("must not be sent together with audio", "voice")
        if self.voice is not None and self.transcript is not None:
            raise rule_error("belongs to audio; a stored voice has its own", "transcript")
        check_consent(self.consent, info, has_audio=self.audio is not None)
        return self

    def utterance(self) -> Utterance:
        """Return what the form asks for."""
        return Utterance(
            text=self.text,
            reference=self.audio,
            voice=self.voice,
            transcript=self.transcript,
            **delivery(self),
        )


class SpeechRequest(Body):
    """OpenAI's request for speech, with extensions for reference audio and sampling."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "tts-1", "input": "Good morning.", "voice": "default"}]}
    )

    model: str = Field(description="One of the models that `/v1/models` lists.")
    input: Text = Field(description="What to say, in English.")
    voice: OpenAIVoice = Field(
        None, description='Name, alias or id of a stored voice, or `{"id": …}`. Not used where `ref_audio` is sent.'
    )
    response_format: FormatName | None = Field(None, description="Of the audio; absent, mp3 or what `Accept` names.")
    speed: Speed = 1.0
    stream_format: Literal["audio", "sse"] = Field(
        "audio", description="Send the audio itself, or events with pieces of it in base64."
    )
    instructions: Annotated[str, Field(json_schema_extra={"pattern": r"^\s*$"})] | None = Field(
        None, description="Must be absent or blank: CSM would speak them."
    )
    ref_audio: Audio | None = Field(
        None, description="Extension: reference audio in base64, or as a data URI. Addresses are not fetched."
    )
    ref_text: OptionalText = Field(None, description="Extension: the words of the reference audio.")
    temperature: Temperature = 0.9
    top_k: TopK = 50
    seed: Seed | None = None
    max_seconds: MaxSeconds | None = None
    consent: Consent = None

    @field_validator("instructions")
    @classmethod
    def _no_instructions(cls, value: str | None) -> None:
        if value:
            raise rule_error("must be absent: CSM takes no instructions on style, and would speak them")

    @field_validator("speed", mode="wrap")
    @classmethod
    def _narrower_speed(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            rule = f"must be a number from {MIN_SPEED:g} to {MAX_SPEED:g}: this server has a narrower range than OpenAI"
            raise rule_error(rule) from None

    @model_validator(mode="after")
    def _has_one_voice(self, info: ValidationInfo) -> Self:
        check_consent(self.consent, info, has_audio=self.ref_audio is not None)
        if self.ref_audio is not None:
            return self
        if self.voice is None:
            raise rule_error("is missing: send the name or the id of a stored voice, or reference audio", "voice")
        if self.ref_text is not None:
            raise rule_error("belongs to reference audio, which is missing", "ref_text")
        return self

    def utterance(self) -> Utterance:
        """Return what the request asks for."""
        return Utterance(
            text=self.input,
            reference=self.ref_audio,
            voice=self.voice if self.ref_audio is None else None,
            transcript=self.ref_text,
            **delivery(self),
        )


class WatermarkForm(Body):
    """A recording in which a watermark is looked for."""

    audio: Audio = Field(description="The recording, in any common format.")


def delivery(body: Body) -> dict[str, Any]:
    """Return those fields of a body that say how to speak; they have the names of `csm.speech.Delivery`'s."""
    return {part.name: getattr(body, part.name) for part in fields(Delivery) if part.name in type(body).model_fields}


def check_consent(consent: bool | None, info: ValidationInfo, *, has_audio: bool) -> None:
    """Refuse consent=false, and reference audio without consent where the server requires it."""
    if consent is False or (has_audio and consent is None and settings_of(info).require_consent):
        raise rule_error("must be true: it states that the speaker of the reference audio has agreed", "consent")
