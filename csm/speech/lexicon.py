"""The operator's pronunciations: a file with lines `word = respelling`."""

import re
from collections.abc import Mapping
from pathlib import Path

from csm.settings import Settings, SettingsError
from csm.speech.text import clean

MAX_BYTES = 100_000
"""About 5,000 lines. The size is limited because each word of a text is compared with all entries."""


class Lexicon:
    """Replace whole words by respellings, ignoring case.

    A word may contain spaces and punctuation (`C++`, `New York`). If several entries match, the longest is used; a
    respelling is not looked up again.

    Args:
        words: maps each word to its respelling.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = {word.casefold(): respelling for word, respelling in words.items()}
        longest_first = sorted(words, key=len, reverse=True)
        # Not \b: a word may begin or end with a character that is not a word character, as C++ does.
        self._pattern = re.compile(
            rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)" if words else r"(?!)", re.IGNORECASE
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "Lexicon":
        """Return the lexicon that `CSM_LEXICON` names, or an empty one.

        Empty lines and lines that begin with `#` are skipped.

        Raises:
            SettingsError: the file cannot be read, or one of its lines is wrong; the message names the remedy.
        """
        if settings.lexicon is None:
            return cls({})
        words: dict[str, str] = {}
        seen: set[str] = set()
        for number, line in enumerate(_read(settings.lexicon).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            word, separator, respelling = (part.strip() for part in line.partition("="))
            where = f"CSM_LEXICON, line {number}"
            if not (word and separator and respelling):
                raise SettingsError(f"{where}: expected word = respelling")
            if clean(word) != word or clean(respelling) != respelling:
                raise SettingsError(f"{where}: remove special tokens, control characters and repeated spaces")
            if word.casefold() in seen:
                raise SettingsError(f"{where}: the word stands in an earlier line too; keep one of them")
            seen.add(word.casefold())
            words[word] = respelling
        return cls(words)

    def respell(self, text: str) -> str:
        """Return the text with all words in the lexicon replaced."""
        return self._pattern.sub(lambda match: self._words.get(match[0].casefold(), match[0]), text)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"CSM_LEXICON cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SettingsError(f"CSM_LEXICON has more than {MAX_BYTES} bytes: keep only words that are said wrong")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError("CSM_LEXICON is not UTF-8: save it as UTF-8") from None
