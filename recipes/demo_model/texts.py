"""Texts to synthesise: example sentences and definitions of WordNet (Debian package wordnet-base)."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from recipes.demo_model import heldout

WORDNET = Path("/usr/share/wordnet")

WORDS = (3, 18)
"""Minimum and maximum number of words of a sentence."""

LETTERS = (12, 110)
"""Minimum and maximum number of characters of a sentence."""


def example_sentences(wordnet: Path = WORDNET) -> list[str]:
    """Return WordNet's example sentences, each once, with a capital letter and a full stop: about 40,000."""
    quoted = (example for gloss in _glosses(wordnet) for example in re.findall(r'"([^"]*)"', gloss))
    return sorted({_as_sentence(example) for example in quoted if _usable(example)})


def definitions(wordnet: Path = WORDNET) -> list[str]:
    """Return WordNet's definitions in the same form, without parts in brackets: about 100,000."""
    unquoted = (re.sub(r"\([^)]*\)", "", gloss.partition('"')[0]) for gloss in _glosses(wordnet))
    parts = (" ".join(part.split()) for gloss in unquoted for part in gloss.split(";"))
    return sorted({_as_sentence(part) for part in parts if _usable(part)})


def judges() -> list[str]:
    """Return the texts of `heldout`."""
    return sorted(heldout.TEXTS)


def all_of_wordnet() -> list[str]:
    """Return examples and definitions."""
    return sorted({*example_sentences(), *definitions()})


KINDS: Mapping[str, Callable[[], list[str]]] = MappingProxyType(
    {"examples": example_sentences, "definitions": definitions, "all": all_of_wordnet, "judges": judges}
)


def sentences(
    kind: str, share: tuple[int, int] = (0, 1), max_words: int = WORDS[1], common: int | None = None
) -> list[str]:
    """Return the texts of one kind, or a share of them, so that different voices can have different texts.

    Args:
        kind: "examples", "definitions", "all" for both, or "judges" for those of evaluation.
        share: index of the share, from 0, and number of shares.
        max_words: maximum number of words; longer texts are left out.
        common: if given, only texts that have no other words than these many most frequent ones of WordNet: a small
            model need not learn how to pronounce the names of plants.
    """
    which, shares = share
    found = [text for text in KINDS[kind]()[which::shares] if len(text.split()) <= max_words]
    if common is None:
        return found
    known = {
        word for word, _ in Counter(word for text in all_of_wordnet() for word in _words(text)).most_common(common)
    }
    return [text for text in found if known.issuperset(_words(text))]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _glosses(wordnet: Path) -> Iterator[str]:
    """Yield the gloss of each line of the data files, after a bar: definitions, then examples in quotes."""
    for file in sorted(wordnet.glob("data.*")):
        for line in file.read_text(encoding="latin1").splitlines():
            yield line.partition(" | ")[2]


def _usable(text: str) -> bool:
    """Return whether all voices can read a text: it has no digits, abbreviations or foreign letters."""
    words, letters = len(text.split()), len(text)
    fits = WORDS[0] <= words <= WORDS[1] and LETTERS[0] <= letters <= LETTERS[1]
    return fits and re.fullmatch(r"[A-Za-z ,.'?!;-]+", text) is not None


def _as_sentence(text: str) -> str:
    text = text.strip(" ;,")
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in {".", "?", "!"} else text + "."
