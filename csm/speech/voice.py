"""A voice, and the conversation that makes the model continue in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from csm.audio.waveform import Waveform
from csm.model.conversation import Conversation, Turn

ROLE = "0"
"""The role of all turns: one role for reference and new text tells the model that they have one speaker."""


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
    """Return the turn of the reference audio, the earlier turns, then the turn to be spoken.

    Without a transcript, the turn of the reference audio has no words. The model then imitates the voice but aligns
    words and audio less well. A wrong transcript would be worse: it shows the model words that do not match the audio.
    """
    turns = (Turn(ROLE, voice.transcript, voice.waveform), *history, Turn(ROLE, text))
    return Conversation(turns, history=len(history))
