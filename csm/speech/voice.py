"""A voice, and the conversation that makes the model continue in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from csm.audio.waveform import Waveform
from csm.model.conversation import Conversation, Turn

ROLE = "0"
"""Reference and target carry the same role, so that the model takes them for one speaker."""


@dataclass(frozen=True, eq=False)
class Voice:
    """Conditioned reference audio and its transcript.

    Attributes:
        waveform: conditioned (`csm.audio.condition`).
        transcript: cleaned; empty if it is not known.
    """

    waveform: Waveform
    transcript: str


def conversation(voice: Voice, text: str, history: Sequence[Turn] = ()) -> Conversation:
    """Return the reference turn, the turns said before, then the turn to be said.

    Without a transcript the reference turn has no words. The model then takes up the sound of the voice but
    aligns less well; a made-up transcript is worse, because the model learns from it that words and sound
    have nothing to do with each other.
    """
    turns = (Turn(ROLE, voice.transcript, voice.waveform), *history, Turn(ROLE, text))
    return Conversation(turns, history=len(history))
