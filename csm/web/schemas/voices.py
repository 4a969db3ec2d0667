"""The bodies of requests that store or rename voices."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from csm.errors import InvalidRequest
from csm.speech import VoiceDraft
from csm.speech.voices.api import (
    CONSENT_RULE,
    MAX_CONSENT_CHARS,
    MAX_NAME_CHARS,
    MAX_RECORDINGS,
    MAX_TRANSCRIPT_CHARS,
    NAME_RULE,
    clean_consent,
    clean_name,
)
from csm.web.validation import Audio, Body, rule_error


def _voice_name(name: str) -> str:
    try:
        return clean_name(name)
    except InvalidRequest:
        raise rule_error(NAME_RULE) from None


def _consent_statement(statement: str) -> str:
    try:
        return clean_consent(statement)
    except InvalidRequest:
        raise rule_error(CONSENT_RULE) from None


def _few_recordings(recordings: list[bytes]) -> list[bytes]:
    if not 1 <= len(recordings) <= MAX_RECORDINGS:
        raise rule_error(f"must be 1 to {MAX_RECORDINGS} files")
    return recordings


def _short_transcript(text: str) -> str:
    if len(text) > MAX_TRANSCRIPT_CHARS:
        raise rule_error(f"must have at most {MAX_TRANSCRIPT_CHARS} characters")
    return text


VoiceName = Annotated[
    str,
    AfterValidator(_voice_name),
    Field(
        description="Of the voice, unique among those of a key.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_CHARS},
    ),
]


class VoiceForm(Body):
    """A voice to be stored."""

    name: VoiceName
    audio_sample: Annotated[list[Audio], AfterValidator(_few_recordings)] = Field(
        description=f"1 to {MAX_RECORDINGS} recordings of one speaker, which are joined; 5 to 15 seconds are best.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_RECORDINGS},
    )
    transcript: list[Annotated[str, AfterValidator(_short_transcript)]] = Field(
        [],
        description="The words of each recording, in the same order, or one text for all of them.",
        json_schema_extra={"maxItems": MAX_RECORDINGS},
    )
    consent: Annotated[str, AfterValidator(_consent_statement)] = Field(
        description="A statement that the speaker agrees; it is stored with the voice, and its time.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_CONSENT_CHARS},
    )

    @model_validator(mode="after")
    def _has_a_transcript_for_each(self) -> Self:
        if len(self.transcript) not in (0, 1, len(self.audio_sample)):
            raise rule_error("must be sent once, or once for each recording", "transcript")
        return self

    def draft(self) -> VoiceDraft:
        """Return the voice that the form describes."""
        return VoiceDraft(self.name, self.audio_sample, self.transcript, self.consent)


class VoiceImportForm(Body):
    """A voice that was exported."""

    file: Audio = Field(description="The file, as it was exported.")
    name: VoiceName | None = Field(None, description="Of the voice, in place of that in the file.")


class VoiceRename(Body):
    """The changes to a voice."""

    name: VoiceName
