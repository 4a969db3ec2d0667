"""The recipe's gate: real speech passes it, and spoilt speech fails. The demo model must pass that of the words."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recipes.demo_model import judges
from recipes.demo_model.export import MAX_WER, MIN_NEARER_TO_OWN

RATE = 24_000


@dataclass(frozen=True)
class Clip:
    """A sound and the words that it should say.

    Attributes:
        samples: float32 at 24 kHz.
    """

    text: str
    speaker: str
    samples: np.ndarray = field(repr=False)


def mean_word_error_rate(clips: Sequence[Clip]) -> float:
    """Return the mean over the clips, of which each counts at most 1."""
    return float(np.mean([judges.heard_error_rate(clip.text, clip.samples, RATE) for clip in clips]))


def says_the_words(clips: Sequence[Clip]) -> bool:
    """Return whether the word error rate is low enough."""
    return mean_word_error_rate(clips) < MAX_WER


def share_nearer_to_own(clones: Sequence[Clip], references: Sequence[Clip], strangers: Sequence[Clip]) -> float:
    """How often a clone is nearer to its own reference than to a stranger's."""
    wins = []
    for clone, own, other in zip(clones, references, strangers, strict=True):
        voice = judges.voice_print(clone.samples, RATE)
        to_own, to_other = (voice @ judges.voice_print(clip.samples, RATE) for clip in (own, other))
        wins.append(to_own > to_other)
    return float(np.mean(wins))


def takes_up_the_voice(clones: Sequence[Clip], references: Sequence[Clip], strangers: Sequence[Clip]) -> bool:
    """Return whether enough clones are nearer to their own reference."""
    return share_nearer_to_own(clones, references, strangers) >= MIN_NEARER_TO_OWN
