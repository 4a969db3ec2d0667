"""Synthesize speech: a text and a voice in, PCM out."""

from csm.speech.api import (
    SAMPLE_RATE,
    Delivery,
    Detection,
    Dialogue,
    DialogueTurn,
    Examination,
    Notes,
    Speech,
    State,
    Status,
    Synthesizer,
    Utterance,
    VoiceSource,
)
from csm.speech.voices.api import VoiceDraft, VoiceInfo, Voices

__all__ = [
    "SAMPLE_RATE",
    "Delivery",
    "Detection",
    "Dialogue",
    "DialogueTurn",
    "Examination",
    "Notes",
    "Speech",
    "State",
    "Status",
    "Synthesizer",
    "Utterance",
    "VoiceDraft",
    "VoiceInfo",
    "VoiceSource",
    "Voices",
]
