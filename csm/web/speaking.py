"""What all routes that speak do once the body has been validated."""

from collections.abc import Iterable
from dataclasses import replace

from flask import request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Dialogue, Speech, Synthesizer, Utterance
from csm.web import access_log, auth, capacity, disconnect, rate_limit


def speak(utterance: Utterance, settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Speech:
    """Charge the client's quota of characters and return the speech; stored voices are those of the client's key.

    Raises:
        TooManyRequests, InvalidRequest: the quota does not allow so many characters.
        CsmError: as `Synthesizer.speak`.
    """
    _charge(settings, limiter, [utterance.text], [utterance.reference])
    return synthesizer.speak(
        replace(utterance, owner=auth.owner()), capacity.current(), disconnect.watch(request.environ)
    )


def converse(dialogue: Dialogue, settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Speech:
    """Charge the client's quota for the turns that are to be spoken, and return the speech; see `speak`."""
    texts = [turn.text or "" for turn in dialogue.turns if turn.audio is None]
    files = [*(turn.audio for turn in dialogue.turns), *(voice.reference for voice in dialogue.voices.values())]
    _charge(settings, limiter, texts, files)
    access_log.current().noted.update(turns=len(dialogue.turns))
    return synthesizer.speak(
        replace(dialogue, owner=auth.owner()), capacity.current(), disconnect.watch(request.environ)
    )


def _charge(settings: Settings, limiter: Limiter, texts: Iterable[str], files: Iterable[bytes | None]) -> None:
    characters, sizes = sum(map(len, texts)), [len(file) for file in files if file is not None]
    rate_limit.charge(limiter, settings, characters)
    access_log.current().noted.update(text_chars=characters)
    if sizes:
        access_log.current().noted.update(reference_bytes=sum(sizes))
