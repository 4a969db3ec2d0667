"""CSM's prompt: from turns to token ids, with placeholders for audio frames.

A turn is `<|begin_of_text|>[role]text<|end_of_text|>`; if it has audio, one position for each frame and an all-zero end
frame follow. That is the chat template of `CsmProcessor`, id for id. It is built here because the template breaks on
text that contains special tokens, and because the engine caches the turns before the last as a prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Waveform


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of `text`."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One speaker's turn.

    Attributes:
        role: the speaker, in digits; turns in one voice have the same role.
        text: what is said, without special tokens (see `csm.speech.text`).
        audio: at the codec's sample rate; None for the turn that is generated.
        codes: of the audio, `[frames, codebooks]`, if they are known; encoding it again would lose a little.
    """

    role: str
    text: str
    audio: Waveform | None = None
    codes: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Conversation:
    """Turns in order. Only the last has no audio: it is the one that is generated.

    Attributes:
        turns: the voices' reference audio, what was said before, and the turn that is generated.
        history: how many of the turns before the last were said before. The others are the `context`, which other
            conversations share and whose keys and values are cached.
    """

    turns: tuple[Turn, ...]
    history: int = 0

    def __post_init__(self) -> None:
        if not self.turns or self.turns[-1].audio is not None or any(t.audio is None for t in self.turns[:-1]):
            raise ValueError("every turn but the last needs audio, and the last must have none")
        if any(turn.codes is None for turn in self.said):
            raise ValueError("every turn that was said before needs its codes")

    @property
    def context(self) -> tuple[Turn, ...]:
        """The turns of the voices' reference audio."""
        return self.turns[: len(self.turns) - 1 - self.history]

    @property
    def said(self) -> tuple[Turn, ...]:
        """The turns that were said before, each with its codes."""
        return self.turns[len(self.context) : -1]

    @property
    def target(self) -> Turn:
        """The turn that is generated."""
        return self.turns[-1]


def text_ids(turn: Turn, tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of a turn's text with its role and delimiters."""
    text = f"<|begin_of_text|>[{turn.role}]{turn.text}<|end_of_text|>"
    return tokenizer.encode(text, add_special_tokens=False)


def input_ids(turns: Sequence[Turn], frames: Sequence[int], tokenizer: Tokenizer, audio: int, end: int) -> list[int]:
    """Return the token ids of turns as `CsmProcessor` makes them, with placeholders for audio frames.

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
