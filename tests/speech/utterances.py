"""What tests ask a synthesizer to say."""

from collections.abc import Callable
from typing import Any

from csm.settings import Settings, load
from csm.speech import Speech, Synthesizer, Utterance
from tests.reference_audio import synthetic_speech

REFERENCE_AUDIO = synthetic_speech()


def utterance(text: str = "Hello there.", **given: Any) -> Utterance:
    """Return an utterance with reference audio and transcript."""
    return Utterance(**{"text": text, "reference": REFERENCE_AUDIO, "transcript": "Heard before.", **given})


def speech_settings(**given: Any) -> Settings:
    """Return settings of the demo model with a queue of one."""
    return load(None, **{"model": "demo", "queue": 1, **given})


def speak(synthesizer: Synthesizer, said: Utterance, is_disconnected: Callable[[], bool] = lambda: False) -> Speech:
    """Reserve capacity and speak, as a request does."""
    return synthesizer.speak(said, synthesizer.reserve(), is_disconnected)
