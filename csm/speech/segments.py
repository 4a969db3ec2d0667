"""Split a text into segments that the model speaks one after the other.

CSM loses its way in long turns, and its context holds 164 s at most, so a long text is spoken in pieces. A piece should
end where a speaker would breathe: at the end of a sentence, else at a clause, else between two words.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sentencex

PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE = 0.8, 0.4, 0.15
"""Seconds of silence after a paragraph, a sentence and a clause: a choice, not a measurement."""

_PARAGRAPH = re.compile(r"\n\s*\n")
_CLOSING = "\"'”’»)]}*_ "
_SENTENCE_END, _CLAUSE_END = ".!?…。！？", ",;:—–、，；："

# Borders of clauses, best first; each match is the place of a cut, and the text after it begins the next piece.
_BORDERS = (
    re.compile(r"(?<=[;:—–…])[\"'”’)\]]*(?=\s)|(?<=[；：。！？—])"),
    re.compile(r"(?<=,)[\"'”’)\]]*(?=\s)|(?<=[，、])|(?<=\))(?=\s)"),
    re.compile(r"\s(?=(?:and|but|or|nor|so|because|although|though|while|which|who|that|when|where|if|to|of|in)\s)"),
    re.compile(r"\s"),
)


@dataclass(frozen=True)
class Limits:
    """How long segments may be, in characters.

    Attributes:
        first: of the first segment, unless its first sentence is longer; a short one is spoken sooner.
        target: sentences are added to a segment up to this length; 240 characters take about 16 s to say.
        maximum: no segment is longer; a sentence that is longer is divided.
        short: a segment or sentence up to this length is joined to its neighbour up to `maximum`, across paragraphs
            too, since the model speaks a lone "Yes." badly.
    """

    first: int = 120
    target: int = 240
    maximum: int = 300
    short: int = 40

    def later(self) -> "Limits":
        """Return the limits of a text that is not spoken first."""
        return replace(self, first=self.target)


@dataclass(frozen=True)
class Segment:
    """What is spoken in one turn of the model.

    Attributes:
        text: never empty.
        pause: seconds of silence after it.
    """

    text: str
    pause: float


DEFAULT_LIMITS = Limits()


def split(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Segment]:
    """Return the segments of a text, which together have all of its characters but white space, in order.

    An empty line ends a paragraph; a single line break is white space. Words stay whole unless one is longer than
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


def _pieces(text: str, maximum: int) -> Iterator[tuple[str, bool]]:
    """Yield sentences, divided where they are too long, and whether each is the last of its paragraph."""
    for paragraph in _PARAGRAPH.split(text):
        sentences = (" ".join(sentence.split()) for sentence in sentencex.segment("en", paragraph))
        pieces = [piece for sentence in sentences for piece in _divide(sentence, maximum)]
        yield from zip(pieces, [False] * (len(pieces) - 1) + [True], strict=False)


def _divide(sentence: str, maximum: int) -> list[str]:
    """Return the sentence in pieces of at most `maximum` characters of about the same length."""
    if len(sentence) <= maximum:
        return [sentence] if sentence else []
    cut = _cut(sentence, maximum)
    return _divide(sentence[:cut].strip(), maximum) + _divide(sentence[cut:].strip(), maximum)


def _cut(sentence: str, maximum: int) -> int:
    """Return where to cut: at the best border in the middle half, else at the space nearest to the middle."""
    middle = len(sentence) // 2
    for border in _BORDERS:
        places = [match.end() for match in border.finditer(sentence, 1) if match.end() < len(sentence)]
        nearest = min(places, key=lambda place: abs(place - middle), default=0)
        if nearest and (border is _BORDERS[-1] or abs(nearest - middle) <= len(sentence) // 4):
            return nearest
    # One word longer than a segment may be. A letter keeps its accents.
    cut = maximum
    while cut and unicodedata.combining(sentence[cut]):
        cut -= 1
    return cut or maximum


def _pause(segment: str) -> float:
    ending = segment.rstrip(_CLOSING)[-1:]
    if ending and ending in _SENTENCE_END:
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if ending and ending in _CLAUSE_END else 0.0
