"""Validate the fields of POST /clone-voice and build an `Utterance` from them."""

import difflib
import re
from collections.abc import Mapping

from werkzeug.exceptions import BadRequest

from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.settings import Settings
from csm.speech import Utterance
from csm.web.problems import InvalidField

FILE = "audio"
TEXTS = ("text", "transcript", "temperature", "top_k", "seed", "max_seconds", "speed", "stream", "consent")

MAX_SEED, MAX_TOP_K, MAX_TEMPERATURE = 2**63 - 1, 2051, 2.0
MIN_SECONDS, MAX_SECONDS = 0.08, 3600.0
"""Length of one frame, and an hour."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
# Narrower than float() and int(), which take "nan", "1_000" and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,2})?", re.ASCII)
_INTEGER = re.compile(r"\d{1,19}", re.ASCII)


def utterance(form: Mapping[str, str], reference: bytes, settings: Settings) -> Utterance:
    """Return the utterance that the form describes.

    Optional fields may be blank, as HTML forms send them, and then count as absent.

    Raises:
        BadRequest: `text` is missing.
        InvalidField: a field is out of range; the message never contains its value.
    """
    values = {name: text.strip() for name, text in form.items() if text.strip() or name == "text"}
    # consent=false is honoured even where consent is not required.
    consent = values.get("consent", "" if settings.require_consent else "true")
    if not consent or not flag("consent", consent):
        raise InvalidField(
            "consent", "consent=true is needed: it states that the speaker of the reference audio has agreed."
        )
    if "text" not in values:
        raise BadRequest("The part 'text' is missing.")
    max_chars = settings.max_text_chars
    if not 1 <= len(values["text"]) <= max_chars:
        raise InvalidField("text", f"text must have 1 to {max_chars} characters.")
    if len(values.get("transcript", "")) > max_chars:
        raise InvalidField("transcript", f"transcript must have at most {max_chars} characters.")
    max_seconds = (
        _number(values, "max_seconds", MAX_SECONDS, MIN_SECONDS, MAX_SECONDS) if "max_seconds" in values else None
    )
    return Utterance(
        text=values["text"],
        reference=reference,
        transcript=values.get("transcript"),
        temperature=_number(values, "temperature", 0.9, 0.0, MAX_TEMPERATURE),
        top_k=_whole(values, "top_k", 50, 1, MAX_TOP_K),
        seed=_whole(values, "seed", 0, 0, MAX_SEED) if "seed" in values else None,
        max_seconds=max_seconds,
        stream=streamed(form),
        speed=_number(values, "speed", 1.0, MIN_SPEED, MAX_SPEED),
    )


def streamed(form: Mapping[str, str]) -> bool:
    """Return whether to stream the answer, by default true.

    Raises:
        InvalidField: the field is neither true nor false.
    """
    return flag("stream", form.get("stream", "").strip() or "true")


def refuse_unknown(form: Mapping[str, str]) -> None:
    """Refuse unknown fields, so that a misspelt field is not ignored silently.

    Raises:
        InvalidField: a field is unknown; the message names the field that was probably meant.
    """
    for name in form:
        if name not in TEXTS:
            close = difflib.get_close_matches(name.lower()[:64], TEXTS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join((FILE, *TEXTS))}."
            raise InvalidField(close[0] if close else "", f"There is an unknown field: {hint}")


def flag(name: str, text: str) -> bool:
    """Return the value of a boolean field.

    Raises:
        InvalidField: the text is neither true nor false.
    """
    if text.lower() not in _TRUE | _FALSE:
        raise InvalidField(name, f"{name} must be true or false.")
    return text.lower() in _TRUE


def _number(values: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = values.get(name, str(default))
    if not _DECIMAL.fullmatch(text) or not low <= float(text) <= high:
        raise InvalidField(name, f"{name} must be a number from {low:g} to {high:g}.")
    return float(text)


def _whole(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name, str(default))
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        raise InvalidField(name, f"{name} must be a whole number from {low} to {high}.")
    return int(text)
