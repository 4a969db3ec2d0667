"""The body of POST /conversation: turns or a script, and the voices of those who speak."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from werkzeug.exceptions import BadRequest

from csm.settings import Settings
from csm.speech import Dialogue, DialogueTurn, VoiceSource
from csm.web import json_body
from csm.web.schemas.fields import (
    MAX_VOICE_CHARS,
    Consent,
    FormatName,
    MaxSeconds,
    Seed,
    Speed,
    Temperature,
    TopK,
    check_consent,
    delivery,
)
from csm.web.validation import Audio, Body, OptionalText, Text, rule_error, settings_of

MAX_TURNS, MAX_SPEAKERS, MAX_NAME_CHARS = 64, 8, 64

MAX_RECORDINGS = 16
"""Maximum number of files in one request: each of them takes a decoder process."""

Speaker = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
VoiceName = Annotated[str, Field(min_length=1, max_length=MAX_VOICE_CHARS)]


class TurnBody(Body):
    """One turn: to be spoken, or with the audio in which it was said."""

    speaker: Speaker = Field(description="Any name; the same in all turns of one speaker.")
    text: OptionalText = Field(None, description="What to say, in English; or the words of the audio.")
    audio: Audio | None = Field(None, description="How it was said, in any common format. The turn is not spoken then.")
    voice: VoiceName | None = Field(None, description="Name, alias or id of a stored voice for this speaker.")

    @model_validator(mode="after")
    def _is_said_or_heard(self) -> Self:
        if self.audio is None and self.text is None:
            raise rule_error("is missing: send what to say, or audio", "text")
        if self.audio is not None and self.voice is not None:
            raise rule_error("belongs to a turn without audio, which is spoken", "voice")
        return self


class VoiceBody(Body):
    """The voice of a speaker: reference audio, or a stored voice."""

    audio: Audio | None = Field(None, description="Reference audio in any common format; 5 to 15 seconds are best.")
    transcript: OptionalText = Field(None, description="The words of the reference audio.")
    voice: VoiceName | None = Field(None, description="Name, alias or id of a stored voice.")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.audio is None) == (self.voice is None):
            raise rule_error("must have either audio or the name of a stored voice")
        if self.voice is not None and self.transcript is not None:
            raise rule_error("belongs to reference audio", "transcript")
        return self


def _from_name(value: Any) -> Any:
    """Return a voice from its short form: the name of a stored voice, or in a form a file."""
    if isinstance(value, bytes):
        return {"audio": value}
    return {"voice": value} if isinstance(value, str) else value


def _few_voices(voices: Any) -> Any:
    """Refuse too many voices before any of them is validated."""
    if isinstance(voices, dict) and len(voices) > MAX_SPEAKERS:
        raise rule_error(f"must have at most {MAX_SPEAKERS} entries")
    return voices


AnyVoice = Annotated[VoiceBody, BeforeValidator(_from_name, json_schema_input_type=VoiceBody | VoiceName)]
"""A `VoiceBody`, or only the name of a stored voice."""


class ConversationBody(Body):
    """A conversation: turns that were heard are its context, the others are spoken.

    In a form, `turns` and `voices` are JSON, in which audio is the name of the part that has the file. No part may be
    named twice: each would be decoded twice.
    """

    HAS_NAMED_FILES: ClassVar = True

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"script": "Ann: Good morning.", "voices": {"Ann": "default"}}]}
    )

    turns: Annotated[list[TurnBody], Field(min_length=1, max_length=MAX_TURNS)] | None = Field(
        None, description="The turns in order, unless there is a script."
    )
    script: Text | None = Field(None, description="Lines of the form `Name: what to say`, instead of turns.")
    voices: Annotated[dict[Speaker, AnyVoice], BeforeValidator(_few_voices)] = Field(
        {},
        description="The voice of each speaker: reference audio, or the name of a stored voice. A speaker without one "
        "speaks as in their first turn with audio.",
        json_schema_extra={"maxProperties": MAX_SPEAKERS},
    )
    temperature: Temperature = 0.9
    top_k: TopK = 50
    seed: Seed | None = None
    max_seconds: MaxSeconds | None = None
    speed: Speed = 1.0
    format: FormatName | None = None
    stream: bool = Field(True, description="Send the audio while it is generated.")
    parts: bool = Field(
        False, description="Answer with JSON lines, which say which turn each piece of audio belongs to."
    )
    consent: Consent = None

    @classmethod
    def from_form(cls, form: Mapping[str, Any], settings: Settings) -> Self:
        """See `Body.from_form`. Files may have any name; each must be referred to once.

        Raises:
            BadRequest: there is a file that nothing refers to, or that is referred to twice.
        """
        values = {name: value for name, value in form.items() if not isinstance(value, bytes)}
        files = {name: value for name, value in form.items() if isinstance(value, bytes)}
        unused = set(files)
        for name in ("turns", "voices"):
            if values.get(name, "").strip():
                values[name] = json_body.parse(values[name].encode(), f"The field '{name}'")
        for holder, key in _references(values):
            part = holder[key]
            if part in files:
                if part not in unused:
                    raise BadRequest("Several turns or voices refer to the same file of the form: name each file once.")
                unused.discard(part)
                holder[key] = files[part]
            elif holder is not values.get("voices"):
                raise BadRequest("A turn or a voice refers to a file that the form does not have.")
        if unused:
            raise BadRequest("The form has a file that neither 'turns' nor 'voices' refers to.")
        return super().from_form(values, settings)

    @model_validator(mode="after")
    def _can_be_spoken(self, info: ValidationInfo) -> Self:
        if (self.turns is None) == (self.script is None):
            raise rule_error("Send either 'turns' or 'script'")
        field, turns = "turns" if self.script is None else "script", self._turns()
        most = settings_of(info).max_text_chars
        speakers = {turn.speaker for turn in turns}
        if not 1 <= len(turns) <= MAX_TURNS:
            raise rule_error(f"must have 1 to {MAX_TURNS} lines", field)
        if len(speakers) > MAX_SPEAKERS:
            raise rule_error(f"must have at most {MAX_SPEAKERS} speakers", field)
        if sum(len(turn.text or "") for turn in turns) > most:
            raise rule_error(f"must have at most {most} characters in total", field)
        if self.voices.keys() - speakers:
            raise rule_error("has an entry for somebody who has no turn", "voices")
        named: set[tuple[str, str | None]] = {(turn.speaker, turn.voice) for turn in turns if turn.voice is not None}
        named |= {(speaker, self.voices[speaker].voice) for speaker, _ in named if speaker in self.voices}
        if len(named) > len({speaker for speaker, _ in named}):
            raise rule_error("must not name several voices for one speaker", field)
        files = [*(turn.audio for turn in turns), *(voice.audio for voice in self.voices.values())]
        recordings = len(files) - files.count(None)
        if recordings > MAX_RECORDINGS:
            raise rule_error(f"must have at most {MAX_RECORDINGS} recordings, with those of voices", field)
        check_consent(self.consent, info, has_audio=recordings > 0)
        return self

    def dialogue(self) -> Dialogue:
        """Return what the request asks for."""
        turns = self._turns()
        numbers = {name: number for number, name in enumerate(dict.fromkeys(turn.speaker for turn in turns))}
        voices = {turn.speaker: VoiceSource(voice=turn.voice) for turn in turns if turn.voice is not None}
        for name, voice in self.voices.items():
            voices[name] = VoiceSource(voice.audio, voice.voice, voice.transcript)
        return Dialogue(
            [DialogueTurn(numbers[turn.speaker], turn.text, turn.audio) for turn in turns],
            {numbers[name]: voice for name, voice in voices.items()},
            **delivery(self),
        )

    def _turns(self) -> Sequence[TurnBody]:
        """Return the turns; those of a script from its lines."""
        if self.script is None:
            return self.turns or []
        turns: list[TurnBody] = []
        for number, line in enumerate(self.script.splitlines(), 1):
            speaker, _, text = (part.strip() for part in line.partition(":"))
            if 1 <= len(speaker) <= MAX_NAME_CHARS and text:
                turns.append(TurnBody.model_construct(speaker=speaker, text=text))
            elif line.strip():
                raise rule_error(f"must have lines of the form 'Name: what to say'; line {number} is not one", "script")
        return turns


def _references(values: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where the JSON of a form may name a file: a dictionary and its key, whose value is text."""
    turns, voices = values.get("turns"), values.get("voices")
    entries = list(turns) if isinstance(turns, list) else []
    if isinstance(voices, dict):
        yield from [(voices, name) for name in voices if isinstance(voices[name], str)]
        entries += voices.values()
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("audio"), str):
            yield entry, "audio"
