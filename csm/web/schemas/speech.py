"""The body of POST /v1/audio/speech."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.speech import Utterance
from csm.web.schemas.fields import (
    Consent,
    FormatName,
    MaxSeconds,
    OpenAIVoice,
    Seed,
    Speed,
    Temperature,
    TopK,
    check_consent,
    delivery,
)
from csm.web.validation import Audio, Body, OptionalText, Text, rule_error


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
