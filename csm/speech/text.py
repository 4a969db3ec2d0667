"""Cleaning of text, and how long saying it may take."""

import re
import unicodedata

SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")

SECONDS_PER_CHARACTER = 0.12
"""Slow speech: 8 characters a second; people talk at 12 to 20."""

SECONDS_PER_DIGIT = 0.6
"""A digit is one character but up to a whole word."""

GRACE_SECONDS = 2.0
"""Breath, pauses and the tail of the last word."""


def clean(text: str) -> str:
    """Return the text without special tokens and control characters, and with single spaces.

    Special tokens in a client's text would open turns and audio positions of their own.
    """
    text = unicodedata.normalize("NFC", text)
    while SPECIAL_TOKEN.search(text):
        text = SPECIAL_TOKEN.sub(" ", text)
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") else c for c in text)
    return " ".join(visible.split())


def longest_seconds(text: str) -> float:
    """Return the longest time in seconds that saying `text` can take; a longer generation is babble."""
    digits = sum(c.isdigit() for c in text)
    return GRACE_SECONDS + SECONDS_PER_CHARACTER * (len(text) - digits) + SECONDS_PER_DIGIT * digits
