"""Parse the pauses in a client's text: `[pause:1s]`, `[pause:500ms]`."""

import re

from csm.errors import InvalidRequest

MIN_PAUSE, MAX_PAUSE = 0.05, 10.0
"""Limits of one marker, in seconds."""

MAX_SILENCE = 300.0
"""Limit of all markers of a text together, in seconds: silence costs no computing, but keeps capacity reserved."""

FORM = f"a pause is written [pause:1s] or [pause:500ms], from {MIN_PAUSE:g} to {MAX_PAUSE:g} seconds"

_MARKER = re.compile(r"\[\s*pause\b([^\[\]\n]{0,40}\])?", re.IGNORECASE)
_LENGTH = re.compile(r"\s*:\s*([0-9]{1,6}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})\s*(s|ms)\s*\]", re.IGNORECASE)


def parse(text: str) -> list[tuple[str, float]]:
    """Return the texts between the markers, each with the seconds of silence that follow it.

    Any of the texts may be empty. The last one has no silence.

    Raises:
        InvalidRequest: a marker is malformed or out of range, or all markers together are too long; the message shows
            the correct form.
    """
    parts: list[tuple[str, float]] = []
    start = 0
    for marker in _MARKER.finditer(text):
        length = _LENGTH.fullmatch(marker[1] or "")
        if length is None:
            raise InvalidRequest(f"text: {FORM}")
        seconds = float(length[1]) / (1000 if length[2].lower() == "ms" else 1)
        if not MIN_PAUSE <= seconds <= MAX_PAUSE:
            raise InvalidRequest(f"text: {FORM}")
        parts.append((text[start : marker.start()], seconds))
        start = marker.end()
    if sum(seconds for _, seconds in parts) > MAX_SILENCE:
        raise InvalidRequest(f"text: the pauses together must be at most {MAX_SILENCE:g} seconds")
    return [*parts, (text[start:], 0.0)]
