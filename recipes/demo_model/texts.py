"""Texts to synthesise: example sentences, definitions and words of WordNet (Debian package wordnet-base)."""

import random
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

FREQUENT = 4
"""Number of times that WordNet's sentences have a word before it is in a list: 20,000 words have this."""

LISTS_PER_WORD = 20

WORDS_PER_LIST = (3, 8)
"""Minimum and maximum."""


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


def word_lists() -> list[str]:
    """Return the frequent words of WordNet, some at a time and in random order, in the form of sentences.

    In sentences, 200 words are half of all. In lists, each word is as frequent as the others, so that a model hears it
    often enough to learn how it is pronounced.
    """
    rng = random.Random(0)
    frequent = sorted(word for word, count in _counts().items() if count >= FREQUENT)
    found = []
    for _ in range(LISTS_PER_WORD):
        rest = rng.sample(frequent, len(frequent))
        while rest:
            length = rng.randint(*WORDS_PER_LIST)
            found.append(_as_sentence(" ".join(rest[:length])))
            rest = rest[length:]
    return sorted(set(filter(_usable, found)))


KINDS: Mapping[str, Callable[[], list[str]]] = MappingProxyType(
    {
        "examples": example_sentences,
        "definitions": definitions,
        "all": all_of_wordnet,
        "lists": word_lists,
        "judges": judges,
    }
)


def sentences(
    kind: str, share: tuple[int, int] = (0, 1), max_words: int = WORDS[1], common: int | None = None
) -> list[str]:
    """Return the texts of one kind, or a share of them, so that different voices can have different texts.

    Args:
        kind: "examples", "definitions", "all" for both, "lists" of words, or "judges" for those of evaluation.
        share: index of the share, from 0, and number of shares.
        max_words: maximum number of words; longer texts are left out.
        common: if given, only texts that have no other words than these many most frequent ones of WordNet: a small
            model need not learn how to pronounce the names of plants.
    """
    which, shares = share
    found = [text for text in KINDS[kind]()[which::shares] if len(text.split()) <= max_words]
    if common is None:
        return found
    known = {word for word, _ in _counts().most_common(common)}
    return [text for text in found if known.issuperset(_words(text))]


def _counts() -> Counter[str]:
    return Counter(word for text in all_of_wordnet() for word in _words(text))


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
