"""Text as the model reads it."""

import re
import unicodedata

SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


def clean(text: str) -> str:
    """Return the text without special tokens and control characters, and with single spaces.

    Special tokens in a client's text would open turns and audio positions of their own.
    """
    text = unicodedata.normalize("NFC", text)
    while SPECIAL_TOKEN.search(text):
        text = SPECIAL_TOKEN.sub(" ", text)
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") else c for c in text)
    return " ".join(visible.split())
