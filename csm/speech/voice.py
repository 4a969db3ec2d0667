"""A voice, and the conversation that makes the model continue in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Waveform
from csm.model.conversation import Conversation, Turn

ROLE = "0"
"""The role of a single speaker: one role for reference and new text tells the model that they have one speaker."""


@dataclass(frozen=True, eq=False)
class Voice:
    """Conditioned reference audio and its transcript.

    Attributes:
        waveform: conditioned (`csm.audio.condition`).
        transcript: cleaned; empty if it is not known.
        codes: of the waveform, `[frames, codebooks]`; None until it is encoded.
    """

    waveform: Waveform
    transcript: str
    codes: NDArray[np.int64] | None = None


def reference_turn(voice: Voice, role: str) -> Turn:
    """Return the turn of the reference audio.

    Without a transcript, it has no words. The model then imitates the voice but aligns words and audio less well. A
    wrong transcript would be worse: it shows the model words that do not match the audio.
    """
    return Turn(role, voice.transcript, voice.waveform, voice.codes)


def conversation(voice: Voice, text: str) -> Conversation:
    """Return the turn of the reference audio, then the turn to be spoken."""
    return Conversation((reference_turn(voice, ROLE), Turn(ROLE, text)))
