"""Training examples: a reference turn and a target turn by one speaker, as rows of ids.

A row is one position of the prompt. A text position has its token in the last column; an audio position has one code
per codebook in the others. This is the prompt of `CsmProcessor`, with codes instead of audio.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.demo_model.excerpts import excerpt
from recipes.demo_model.tokens import ANYONE, Spoken

NOTHING = -1
ROLE = "0"

SORTED_TOGETHER = 4
"""Number of batches whose examples are sorted by length before one of them is chosen."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """One conversation.

    Attributes:
        rows: `[positions, codebooks + 1]`, as in `Batch`.
        places: `[positions]`, as in `Batch`.
    """

    rows: Rows
    places: Rows


@dataclass(frozen=True)
class Batch:
    """Examples, padded on the right.

    Attributes:
        rows: `[batch, positions, codebooks + 1]`: codes, then the text token; `NOTHING` where a position has none.
        frames: `[count, 2]`: row and position of each frame that the depth decoder trains on.
        places: `[batch, positions]`: the position of the letter that is spoken in the next frame; `NOTHING` if no frame
            follows.
    """

    rows: Tensor
    frames: Tensor
    places: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(*(part.to(device, non_blocking=True) for part in (self.rows, self.frames, self.places)))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory; called by `DataLoader`."""
        return Batch(self.rows.pin_memory(), self.frames.pin_memory(), self.places.pin_memory())


@dataclass(frozen=True)
class Diet:
    """The composition of examples. Pairs are the values at the first and the last step: short examples come first.

    Attributes:
        references: maximum number of sentences in the reference.
        alone: share of examples without a reference, so that the model also learns to speak without one.
        max_frames: maximum number of frames of a target.
        depth_share: share of the frames that the depth decoder trains on.
        excerpts: share of the targets that are shortened to some of their words.
        continued: share of the references of several sentences in which only the first one is the reference, and the
            others are turns that the model has said, as in a long text.
        untold: share of the references without a transcript, which many clients do not have.
        unspoken: whether everything but the references is from texts that nobody has spoken, so that their pace, which
            `timings` chooses, becomes the model's.
    """

    references: tuple[int, int] = (1, 3)
    alone: tuple[float, float] = (0.6, 0.1)
    max_frames: tuple[int, int] = (40, 125)
    depth_share: float = 1 / 8
    excerpts: float = 0.5
    continued: float = 0.5
    untold: float = 0.15
    unspoken: bool = False


class Corpus:
    """Sentences by speaker, from which batches are drawn."""

    def __init__(self, spoken: Sequence[Spoken], tokenizer: PreTrainedTokenizerBase, diet: Diet = Diet()) -> None:
        self.spoken, self.tokenizer, self.diet = spoken, tokenizer, diet
        self._before_text = len(tokenizer(f"[{ROLE}]", add_special_tokens=True)["input_ids"]) - 1
        groups: dict[str, list[int]] = defaultdict(list)
        for index, one in enumerate(spoken):
            groups[one.speaker].append(index)
        self.without_voice = groups.pop(ANYONE, [])
        fewest = 1 if diet.unspoken else 2
        self.groups = {speaker: members for speaker, members in groups.items() if len(members) >= fewest}
        self.speakers = list(self.groups)
        spoken_by_someone = [] if diet.unspoken else [index for members in self.groups.values() for index in members]
        self.order = [*spoken_by_someone, *self.without_voice]
        if not self.groups:
            raise ValueError("no speaker has two sentences: there is nothing to clone from")
        if not self.order:
            raise ValueError("there are no texts that nobody has spoken: make some with recipes.demo_model.timings")

    def draw(self, count: int, progress: float, rng: np.random.Generator) -> Batch:
        """Return a batch of `count` examples; `progress` is from 0 to 1.

        All sentences are equally likely: if speakers were, the model would soon memorise those who say little. Several
        batches are drawn and sorted by length for each one that is used, since padding wastes computation.
        """
        max_frames = _between(self.diet.max_frames, progress)
        allowed = [index for index in self.order if len(self.spoken[index].codes) <= max_frames] or self.order
        targets = rng.choice(allowed, count * SORTED_TOGETHER)
        examples = sorted((self.example(int(one), progress, rng) for one in targets), key=lambda one: len(one.rows))
        first = int(rng.integers(SORTED_TOGETHER)) * count
        return collate(examples[first : first + count], self.diet.depth_share, rng)

    def example(self, target: int, progress: float, rng: np.random.Generator) -> Example:
        """Return a conversation that ends with sentence `target`."""
        said = self.spoken[target]
        if said.speaker == ANYONE:
            said = self._with_voice(said, self.speakers[rng.integers(len(self.speakers))], rng)
        if rng.random() < self.diet.excerpts:
            said = excerpt(said, rng)
        if rng.random() < _between(self.diet.alone, progress):
            return self.turn(said)
        others = [index for index in self.groups[said.speaker] if index != target]
        limit = min(round(_between(self.diet.references, progress)), len(others))
        chosen = rng.choice(others, int(rng.integers(1, limit + 1)), replace=False)
        before = [self.spoken[int(index)] for index in chosen]
        turns = before[1:] if rng.random() < self.diet.continued else []
        reference = as_reference(before[: len(before) - len(turns)])
        if rng.random() < self.diet.untold:
            reference = replace(reference, text="")
        if self.diet.unspoken:
            texts = rng.choice(self.without_voice, len(turns))
            turns = [self._with_voice(self.spoken[int(text)], said.speaker, rng) for text in texts]
        return _joined([self.turn(one) for one in (reference, *turns, said)])

    def _with_voice(self, said: Spoken, speaker: str, rng: np.random.Generator) -> Spoken:
        """Return a text, which has only first codes, with the voice of a speaker."""
        own = self.spoken[int(rng.choice(self.groups[speaker]))].codes[0, 1:]
        codes = np.concatenate([said.codes, np.broadcast_to(own, (len(said.codes), len(own)))], 1)
        return replace(said, speaker=speaker, codes=codes, heard=codes)

    def turn(self, said: Spoken) -> Example:
        """Return a turn: text, frames, and the all-zero frame that ends it."""
        ids = self.tokenizer(f"[{ROLE}]{said.text}", add_special_tokens=True)["input_ids"]
        frames, codebooks = said.codes.shape
        rows = np.full((len(ids) + frames + 1, codebooks + 1), NOTHING, np.int64)
        rows[: len(ids), -1] = ids
        rows[len(ids) : -1, :-1] = said.codes
        rows[-1, :-1] = 0
        places = np.full(len(rows), NOTHING, np.int64)
        # Each position predicts the next one: the last position of the text predicts the first frame, and so on. The
        # all-zero frame belongs to the end of the text.
        places[len(ids) - 1 : -2] = np.minimum(said.places + self._before_text, len(ids) - 1)
        places[-2] = len(ids) - 1
        return Example(rows, places)


def _joined(turns: Sequence[Example]) -> Example:
    """Return a conversation."""
    begins = np.cumsum([0, *(len(turn.rows) for turn in turns[:-1])])
    places = [
        np.where(turn.places == NOTHING, NOTHING, turn.places + begin)
        for turn, begin in zip(turns, begins, strict=True)
    ]
    return Example(np.concatenate([turn.rows for turn in turns]), np.concatenate(places))


def collate(examples: Sequence[Example], depth_share: float, rng: np.random.Generator) -> Batch:
    """Pad the examples and choose the frames for the depth decoder."""
    width = max(len(example.rows) for example in examples)
    rows = np.full((len(examples), width, examples[0].rows.shape[1]), NOTHING, np.int64)
    places = np.full((len(examples), width), NOTHING, np.int64)
    for index, example in enumerate(examples):
        rows[index, : len(example.rows)], places[index, : len(example.rows)] = example.rows, example.places
    frames = np.argwhere(_for_depth(rows[..., :-1], depth_share, rng))
    return Batch(torch.from_numpy(rows), torch.from_numpy(frames), torch.from_numpy(places))


def _for_depth(codes: Rows, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return `[batch, positions]`: whether the depth decoder trains on a frame."""
    frames = codes[..., 0] != NOTHING
    # Ends of turns are rare, so all are used; otherwise the depth decoder would not learn all-zero frames.
    chosen = frames & ((rng.random(frames.shape) < share) | (codes == 0).all(-1))
    if chosen.sum() == codes.shape[-1]:
        # `transformers` misinterprets a batch of as many frames as there are codebooks, so use one more or one less.
        left = frames & ~chosen
        chosen.flat[np.flatnonzero(left if left.any() else chosen)[0]] ^= True
    return chosen


def split(spoken: Sequence[Spoken], share: float = 0.05) -> tuple[list[Spoken], list[Spoken]]:
    """Split into training and validation sentences by speaker, so that validation voices are new; deterministic.

    Texts without a voice are for training.
    """
    held = {
        one.speaker
        for one in spoken
        if one.speaker != ANYONE and zlib.crc32(one.speaker.encode()) % 1000 < share * 1000
    }
    return [one for one in spoken if one.speaker not in held], [one for one in spoken if one.speaker in held]


def as_reference(said: Sequence[Spoken]) -> Spoken:
    """Concatenate several sentences by one speaker, as the model hears them."""
    starts = np.cumsum([0, *(len(one.text) + 1 for one in said[:-1])])
    places = [one.places + start for one, start in zip(said, starts, strict=True)]
    heard = np.concatenate([one.heard for one in said])
    return Spoken(" ".join(one.text for one in said), said[0].speaker, heard, heard, np.concatenate(places))


def _between(ends: tuple[float, float], progress: float) -> float:
    return ends[0] + progress * (ends[1] - ends[0])
