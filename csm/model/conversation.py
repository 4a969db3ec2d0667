"""CSM's conversational context: turns in, token ids and frame places out.

One turn is `<|begin_of_text|>[role]text<|end_of_text|>`, then, where the turn was heard, one position per
audio frame and one all-zero end frame. That is the chat template of `CsmProcessor`, id for id; we build it
ourselves because the template is defeated by text that contains special tokens, and because the turns before
the last are a prefix that the engine keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from csm.audio.waveform import Waveform


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that we use."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One speaker's turn.

    Attributes:
        role: digits; turns of one voice carry the same role.
        text: what is said, free of special tokens (see `csm.speech.text`).
        audio: how it was said, at the codec's sample rate; None for the turn that is to be generated.
    """

    role: str
    text: str
    audio: Waveform | None = None


@dataclass(frozen=True, eq=False)
class Conversation:
    """Turns in order; only the last has no audio, and it is what will be said."""

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        if not self.turns or self.turns[-1].audio is not None or any(t.audio is None for t in self.turns[:-1]):
            raise ValueError("every turn but the last needs audio, and the last must have none")

    @property
    def context(self) -> tuple[Turn, ...]:
        """The turns that were heard."""
        return self.turns[:-1]

    @property
    def target(self) -> Turn:
        """The turn that will be said."""
        return self.turns[-1]


def text_ids(turn: Turn, tokenizer: Tokenizer) -> list[int]:
    """Token ids of one turn's text with its role and delimiters."""
    text = f"<|begin_of_text|>[{turn.role}]{turn.text}<|end_of_text|>"
    return tokenizer.encode(text, add_special_tokens=False)


def input_ids(turns: Sequence[Turn], frames: Sequence[int], tokenizer: Tokenizer, audio: int, end: int) -> list[int]:
    """Token ids of turns, with placeholders where audio frames go, as `CsmProcessor` lays them out.

    Args:
        turns: in order.
        frames: number of audio frames of each turn that has audio.
        tokenizer: of the checkpoint.
        audio: id of `<|AUDIO|>`, repeated once per frame.
        end: id of `<|audio_eos|>`.
    """
    counts = iter(frames)
    ids: list[int] = []
    for turn in turns:
        ids += text_ids(turn, tokenizer)
        if turn.audio is not None:
            ids += [audio] * next(counts) + [end]
    return ids
