"""Clean text of what the model must not read."""

import re
import unicodedata

SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


def clean(text: str) -> str:
    """Return the text without special tokens and control characters, and with single spaces.

    Special tokens in a client's text would add turns and audio positions to the prompt.
    """
    return " ".join(clean_lines(text).split())


def clean_lines(text: str) -> str:
    """Clean a text as `clean` does, but keep the line breaks within it."""
    text = unicodedata.normalize("NFC", text)
    while SPECIAL_TOKEN.search(text):
        text = SPECIAL_TOKEN.sub(" ", text)
    text = "\n".join(text.splitlines())
    visible = (" " if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") else c for c in text)
    return "\n".join(" ".join(line.split()) for line in "".join(visible).split("\n")).strip("\n")
