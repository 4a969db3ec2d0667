"""A voice, and the conversation that makes the model continue in it."""

from dataclasses import dataclass

from csm.audio.waveform import Waveform
from csm.model.conversation import Conversation, Turn

ROLE = "0"
"""Reference and target carry the same role, so that the model takes them for one speaker."""


@dataclass(frozen=True, eq=False)
class Voice:
    """Conditioned reference audio and its transcript.

    Attributes:
        waveform: 24 kHz, levelled and trimmed.
        transcript: cleaned; empty when the caller gave none.
    """

    waveform: Waveform
    transcript: str


def conversation(voice: Voice, text: str) -> Conversation:
    """Return the reference turn followed by the turn to generate.

    Without a transcript the reference turn has no words. The model then takes up the sound of the voice but
    aligns less well; a made-up transcript is worse, because the model learns from it that words and sound
    have nothing to do with each other.
    """
    return Conversation((Turn(ROLE, voice.transcript, voice.waveform), Turn(ROLE, text)))
