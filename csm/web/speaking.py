"""What all routes that speak do once the body has been validated."""

from dataclasses import replace

from flask import request
from flask_limiter import Limiter

from csm.settings import Settings
from csm.speech import Speech, Synthesizer, Utterance
from csm.web import access_log, auth, capacity, disconnect, rate_limit


def speak(utterance: Utterance, settings: Settings, synthesizer: Synthesizer, limiter: Limiter) -> Speech:
    """Charge the client's quota of characters and return the speech; stored voices are those of the client's key.

    Raises:
        TooManyRequests, InvalidField: the quota does not allow so many characters.
        CsmError: as `Synthesizer.speak`.
    """
    rate_limit.charge(limiter, settings, len(utterance.text))
    access_log.current().noted.update(text_chars=len(utterance.text))
    if utterance.reference is not None:
        access_log.current().noted.update(reference_bytes=len(utterance.reference))
    utterance = replace(utterance, owner=auth.owner())
    return synthesizer.speak(utterance, capacity.current(), disconnect.watch(request.environ))
