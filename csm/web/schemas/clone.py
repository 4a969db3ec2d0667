"""The body of POST /clone-voice."""

from typing import Self

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from csm.speech import Utterance
from csm.web.schemas.fields import (
    Consent,
    FormatName,
    MaxSeconds,
    Seed,
    Speed,
    StoredVoiceName,
    Temperature,
    TopK,
    check_consent,
    delivery,
)
from csm.web.validation import Audio, Body, OptionalText, Text, missing_error, rule_error


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
