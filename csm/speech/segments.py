"""Split a text into segments that the model speaks one after the other.

CSM becomes unreliable in long turns, and its context holds at most 164 s, so a long text is spoken in segments. A
segment should end where a speaker would breathe: after a sentence, else after a clause, else between two words.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sentencex

PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE = 0.8, 0.4, 0.15
"""Seconds of silence after a paragraph, a sentence and a clause. They were chosen, not measured."""

_PARAGRAPH = re.compile(r"\n\s*\n")
_CLOSING = "\"'”’»)]}*_ "
_SENTENCE_END, _CLAUSE_END = ".!?…。！？", ",;:—–、，；："

# Borders of clauses, best first. The end of a match is where to cut.
_BORDERS = (
    re.compile(r"(?<=[;:—–…])[\"'”’)\]]*(?=\s)|(?<=[；：。！？—])"),
    re.compile(r"(?<=,)[\"'”’)\]]*(?=\s)|(?<=[，、])|(?<=\))(?=\s)"),
    re.compile(r"\s(?=(?:and|but|or|nor|so|because|although|though|while|which|who|that|when|where|if|to|of|in)\s)"),
    re.compile(r"\s"),
)


@dataclass(frozen=True)
class Limits:
    """Lengths of segments, in characters.

    Attributes:
        first: like `target`, for the first segment; the shorter it is, the sooner audio starts.
        target: sentences are added to a segment up to this length; 240 characters take about 16 s to say.
        maximum: of any segment; a longer sentence is divided.
        short: a segment or sentence up to this length is joined to its neighbour, up to `maximum` and even across
            paragraphs, since the model speaks a lone "Yes." badly.
    """

    first: int = 120
    target: int = 240
    maximum: int = 300
    short: int = 40

    def later(self) -> "Limits":
        """Return the limits for a text that follows other segments."""
        return replace(self, first=self.target)


@dataclass(frozen=True)
class Segment:
    """The text of one turn of the model.

    Attributes:
        text: never empty.
        pause: seconds of silence after it.
    """

    text: str
    pause: float


DEFAULT_LIMITS = Limits()
DEMO_LIMITS = Limits(first=60, target=70, maximum=100, short=20)
"""For the embedded model, which has learnt to say short sentences only."""


def split(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Segment]:
    """Return the segments of a text; joined, they have all of its characters except white space.

    An empty line ends a paragraph; a single line break is white space. A word is divided only if it is longer than
    `limits.maximum`. The last segment has no pause.
    """
    segments: list[Segment] = []
    current, ends_paragraph = "", False
    for piece, is_last in _pieces(text, limits.maximum):
        limit = limits.target if segments else limits.first
        if len(current) <= limits.short or (is_last and len(piece) <= limits.short):
            limit = limits.maximum
        if current and len(current) + 1 + len(piece) <= limit and not (ends_paragraph and len(current) > limits.short):
            current += f" {piece}"
        else:
            if current:
                segments.append(Segment(current, PARAGRAPH_PAUSE if ends_paragraph else _pause(current)))
            current = piece
        ends_paragraph = is_last
    return [*segments, Segment(current, 0.0)] if current else []


def halves(text: str) -> list[str]:
    """Divide the text of a segment that the model failed to speak as a whole; return it if it cannot be divided."""
    half = max(20, -(-len(text) // 2))
    pieces = [piece.text for piece in split(text, Limits(first=half, target=half, maximum=half, short=0))]
    return pieces if all(any(map(str.isalnum, piece)) for piece in pieces) else [text]


def _pieces(text: str, maximum: int) -> Iterator[tuple[str, bool]]:
    """Yield sentences, divided if they are too long, each with whether it is the last of its paragraph."""
    for paragraph in _PARAGRAPH.split(text):
        sentences = (" ".join(sentence.split()) for sentence in sentencex.segment("en", paragraph))
        pieces = [piece for sentence in sentences for piece in _divide(sentence, maximum)]
        yield from zip(pieces, [False] * (len(pieces) - 1) + [True], strict=False)


def _divide(sentence: str, maximum: int) -> list[str]:
    """Divide a sentence into pieces of about the same length, of at most `maximum` characters."""
    if len(sentence) <= maximum:
        return [sentence] if sentence else []
    cut = _cut(sentence, maximum)
    return _divide(sentence[:cut].strip(), maximum) + _divide(sentence[cut:].strip(), maximum)


def _cut(sentence: str, maximum: int) -> int:
    """Return the index at which to cut: the best border in the middle half, else the space nearest to the middle."""
    middle = len(sentence) // 2
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(sentence, 1) if match.end() < len(sentence)]
        nearest = min(ends, key=lambda end: abs(end - middle), default=0)
        if nearest and (border is _BORDERS[-1] or abs(nearest - middle) <= len(sentence) // 4):
            return nearest
    # A single word longer than a segment. A letter must not be separated from its combining accents.
    cut = maximum
    while cut and unicodedata.combining(sentence[cut]):
        cut -= 1
    return cut or maximum


def _pause(segment: str) -> float:
    ending = segment.rstrip(_CLOSING)[-1:]
    if ending and ending in _SENTENCE_END:
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if ending and ending in _CLAUSE_END else 0.0
