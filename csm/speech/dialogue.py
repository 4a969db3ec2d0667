"""Read what a dialogue is made of: the voices of those who speak, what was heard, and the texts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from csm.audio.report import warnings
from csm.engine.api import Engine
from csm.errors import InvalidRequest, UndecodableAudio, UnknownVoice, UnusableReference
from csm.model.conversation import Turn
from csm.speech.api import Dialogue, DialogueTurn, Notes
from csm.speech.frontend import Script, TextFrontend
from csm.speech.reference import MAX_TURN_SECONDS, Reference, ReferenceReader
from csm.speech.voice import Voice, reference_turn
from csm.speech.voices.api import TranscriptSource
from csm.speech.voices.stored import StoredVoices

MAX_HEARD_SECONDS = 180.0
"""Maximum length of the recordings of all turns that were heard. The model's context, 2,048 frames of 80 ms, holds
164 s of audio, so that more would be decoded in vain; the rest allows for silence, which is removed."""


@dataclass(frozen=True, eq=False)
class SpokenTurn:
    """A turn that is to be spoken.

    Attributes:
        role: the role of its speaker.
        script: what to say.
    """

    role: str
    script: Script


@dataclass(frozen=True, eq=False)
class PreparedDialogue:
    """A dialogue whose texts and recordings are read, so that it can be spoken.

    Attributes:
        context: the turns of the reference audio of those who speak, encoded.
        turns: by their index in the dialogue: `Turn` if it was heard, `SpokenTurn` if it is to be spoken. A turn that
            serves as reference audio is in the context instead.
    """

    context: Sequence[Turn]
    turns: Mapping[int, Turn | SpokenTurn]


class DialogueReader:
    """Reads dialogues.

    Args:
        engine: encodes audio.
        frontend: prepares texts.
        reader: decodes reference audio and turns that were heard.
        voices: the stored voices.
        deadline_seconds: time in which all recordings of a dialogue must be read.
    """

    def __init__(
        self,
        engine: Engine,
        frontend: TextFrontend,
        reader: ReferenceReader,
        voices: StoredVoices,
        deadline_seconds: float,
    ) -> None:
        self._engine, self._frontend, self._reader, self._voices = engine, frontend, reader, voices
        self._deadline_seconds = deadline_seconds

    def read(
        self, dialogue: Dialogue, is_disconnected: Callable[[], bool], notes: Notes, resources: ExitStack
    ) -> PreparedDialogue:
        """Return a dialogue that can be spoken. Texts are read first, since that is fast and fails most often.

        Args:
            dialogue: the request.
            is_disconnected: polled while this waits.
            notes: filled in with what is found out.
            resources: to be closed when the stored voices are no longer in use.

        Raises:
            InvalidRequest: there is nothing to say in a turn.
            UndecodableAudio, UnusableReference, UnknownVoice: a voice or a turn that was heard cannot be used.
            DeadlineExceeded, GenerationFailed, StorageFailed: the server failed.
            Cancelled: the client disconnected.
        """
        turns: dict[int, Turn | SpokenTurn] = {**self._spoken_turns(dialogue, notes)}
        speaking = {turn.speaker for turn in dialogue.turns if turn.audio is None}
        context: dict[int, Turn] = {}
        deadline = time.monotonic() + self._deadline_seconds
        for speaker in sorted(speaking & dialogue.voices.keys()):
            with _locating(dialogue, f"the voice of speaker {speaker}"):
                context[speaker] = self._reference(dialogue, speaker, is_disconnected, deadline, notes, resources)
        seconds = 0.0
        for index, turn in enumerate(dialogue.turns):
            if turn.audio is None:
                continue
            is_reference = turn.speaker in speaking and turn.speaker not in context
            with _locating(dialogue, f"turns[{index}].audio"):
                heard = self._heard(turn, is_reference, is_disconnected, deadline)
                seconds += heard.decoded_seconds
                if seconds > MAX_HEARD_SECONDS:
                    raise UnusableReference(
                        f"the recordings of turns have more than {MAX_HEARD_SECONDS:g} s in total: leave out the oldest"
                    )
                said = self._encoded(Turn(str(turn.speaker), heard.transcript, heard.waveform), is_disconnected)
            if is_reference:
                context[turn.speaker] = said
                _note(notes, heard.transcript_source)
            else:
                turns[index] = said
        return PreparedDialogue([turn for _, turn in sorted(context.items())], dict(sorted(turns.items())))

    def _spoken_turns(self, dialogue: Dialogue, notes: Notes) -> dict[int, SpokenTurn]:
        spoken: dict[int, SpokenTurn] = {}
        for index, turn in enumerate(dialogue.turns):
            if turn.audio is None:
                with _locating(dialogue, f"turns[{index}]", "."):
                    spoken[index] = SpokenTurn(str(turn.speaker), self._frontend.prepare(turn.text or ""))
        scripts = [turn.script for turn in spoken.values()]
        notes.segments = sum(len(script.segments) for script in scripts)
        languages = [script.language.code for script in scripts]
        notes.language = next((code for code in languages if code != "en"), "en")
        return spoken

    def _reference(
        self,
        dialogue: Dialogue,
        speaker: int,
        is_disconnected: Callable[[], bool],
        deadline: float,
        notes: Notes,
        resources: ExitStack,
    ) -> Turn:
        """Return the turn of a speaker's reference audio, encoded."""
        source = dialogue.voices[speaker]
        if source.reference is None:
            info, voice = resources.enter_context(
                self._voices.opened(dialogue.owner, source.voice or "", is_disconnected)
            )
            _note(notes, info.transcript_source)
            return reference_turn(voice, str(speaker))
        reference = self._reader.read(source.reference, source.transcript, is_disconnected, deadline=deadline)
        _note(notes, reference.transcript_source)
        is_alone = len(dialogue.turns) == 1
        if is_alone and reference.transcript_source == "recognized":
            notes.recognized = reference.transcript
        suffix = "" if is_alone else f" (speaker {speaker})"
        notes.reference_warnings += [line + suffix for line in warnings(reference.report)]
        return self._encoded(
            reference_turn(Voice(reference.waveform, reference.transcript), str(speaker)), is_disconnected
        )

    def _heard(
        self, turn: DialogueTurn, is_reference: bool, is_disconnected: Callable[[], bool], deadline: float
    ) -> Reference:
        """Read a turn that was heard. Unlike reference audio, it is not cut: all of its words were said."""
        heard = self._reader.read(
            turn.audio or b"", turn.text, is_disconnected, is_reference=is_reference, deadline=deadline
        )
        if heard.report.dropped_seconds:
            raise UnusableReference(
                f"the turn has {heard.report.seconds + heard.report.dropped_seconds:.0f} s of audio, but may have at "
                f"most {MAX_TURN_SECONDS:g}, or CSM_MAX_REFERENCE_SECONDS if it is the only sample of a voice that "
                "speaks: divide it into several turns"
            )
        return heard

    def _encoded(self, turn: Turn, is_disconnected: Callable[[], bool]) -> Turn:
        # Once for all segments: with a small cache, each of them would be encoded again.
        return replace(turn, codes=self._engine.encode(turn, is_disconnected))


@contextmanager
def _locating(dialogue: Dialogue, place: str, separator: str = ": ") -> Iterator[None]:
    """Put the place in the dialogue before the message of an error; a request with one turn needs no place."""
    try:
        yield
    except (InvalidRequest, UndecodableAudio, UnusableReference, UnknownVoice) as error:
        if len(dialogue.turns) == 1:
            raise
        raise type(error)(f"{place}{separator}{error}") from None


def _note(notes: Notes, source: TranscriptSource) -> None:
    """Note where a transcript comes from; of several, the least certain counts."""
    certainty: list[TranscriptSource | None] = ["none", "recognized", "given", None]
    notes.transcript_source = min(notes.transcript_source, source, key=certainty.index)
