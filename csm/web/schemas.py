"""The bodies of requests, one class each: it validates the body, and describes it in the OpenAPI document."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.speech import Utterance
from csm.web.validation import Audio, Body, OptionalText, Text, refuse, settings_of

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


class CloneForm(Body):
    """Reference audio, and a text to speak in its voice."""

    audio: Audio = Field(description="Reference audio in any common format; 5 to 15 seconds are best.")
    text: Text = Field(description="What to say, in English.")
    transcript: OptionalText = Field(None, description="The words of the reference audio.")
    temperature: Temperature = 0.9
    top_k: TopK = 50
    seed: Seed | None = None
    max_seconds: MaxSeconds | None = None
    speed: Speed = 1.0
    format: FormatName | None = None
    stream: bool = Field(True, description="Send the audio while it is generated.")
    consent: Consent = None

    @model_validator(mode="after")
    def _speaker_has_agreed(self, info: ValidationInfo) -> Self:
        require_consent(self.consent, info)
        return self

    def utterance(self) -> Utterance:
        """Return what the form asks for."""
        return Utterance(
            text=self.text,
            reference=self.audio,
            transcript=self.transcript,
            temperature=self.temperature,
            top_k=self.top_k,
            seed=self.seed,
            max_seconds=self.max_seconds,
            stream=self.stream,
            speed=self.speed,
        )


def require_consent(consent: bool | None, info: ValidationInfo) -> None:
    """Refuse reference audio whose speaker has not agreed: consent=false, or none where the server requires one."""
    if consent is False or (consent is None and settings_of(info).require_consent):
        raise refuse("must be true: it states that the speaker of the reference audio has agreed", "consent")
