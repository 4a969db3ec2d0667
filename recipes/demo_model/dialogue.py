"""What the model learns from: a reference turn and a target turn by one speaker, as rows of ids.

A row is one position of the prompt. A text position holds its token in the last column; an audio position holds one
code per codebook in the others. This is the prompt of `CsmProcessor`, with codes instead of sound.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.demo_model.tokens import Spoken

NOTHING = -1
IGNORED = -100
ROLE = "0"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Padded on the right.

    Attributes:
        rows: `[batch, positions, codebooks + 1]`: codes, then the text token; `NOTHING` where a position has none.
        labels: `[batch, positions, codebooks]` as `CsmForConditionalGeneration.forward` takes them: the codes of all
            audio frames; beyond the first codebook only on the frames that the depth decoder trains on.
    """

    rows: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        """On another device."""
        return Batch(self.rows.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Diet:
    """What examples are made of.

    Attributes:
        references: at most this many sentences, said as one, make the reference.
        alone: share of examples without a reference, so that the model speaks without one as well.
        longest: frames of the longest target in the first step, and in the last.
        depth_share: share of the frames that the depth decoder trains on.
    """

    references: int = 3
    alone: float = 0.1
    longest: tuple[int, int] = (40, 125)
    depth_share: float = 1 / 8


class Corpus:
    """Sentences by speaker, and the draws from them."""

    def __init__(self, spoken: Sequence[Spoken], tokenizer: PreTrainedTokenizerBase, diet: Diet = Diet()) -> None:
        self.spoken, self.tokenizer, self.diet = spoken, tokenizer, diet
        groups: dict[str, list[int]] = defaultdict(list)
        for index, one in enumerate(spoken):
            groups[one.speaker].append(index)
        self.groups = {speaker: members for speaker, members in groups.items() if len(members) > 1}
        self.order = [index for members in self.groups.values() for index in members]
        if not self.order:
            raise ValueError("no speaker has two sentences: there is nothing to clone from")

    def draw(self, count: int, progress: float, rng: np.random.Generator) -> Batch:
        """A batch of `count` examples; targets grow longer as `progress` goes from 0 to 1."""
        first, last = self.diet.longest
        longest = first + progress * (last - first)
        allowed = [index for index in self.order if len(self.spoken[index].codes) <= longest] or self.order
        targets = [allowed[int(pick)] for pick in rng.integers(len(allowed), size=count)]
        return collate([self.example(target, rng) for target in targets], self.diet.depth_share, rng)

    def example(self, target: int, rng: np.random.Generator) -> Rows:
        """The rows of one conversation that ends with sentence `target`."""
        said = self.spoken[target]
        if rng.random() < self.diet.alone:
            return self._turn(said)
        others = [index for index in self.groups[said.speaker] if index != target]
        count = int(rng.integers(1, min(self.diet.references, len(others)) + 1))
        chosen = [self.spoken[int(index)] for index in rng.choice(others, count, replace=False)]
        reference = Spoken(
            " ".join(one.text for one in chosen), said.speaker, np.concatenate([one.codes for one in chosen])
        )
        return np.concatenate([self._turn(reference), self._turn(said)])

    def _turn(self, said: Spoken) -> Rows:
        """Text, frames, and the all-zero frame that ends them."""
        ids = self.tokenizer(f"[{ROLE}]{said.text}", add_special_tokens=True)["input_ids"]
        codebooks = said.codes.shape[1]
        rows = np.full((len(ids) + len(said.codes) + 1, codebooks + 1), NOTHING, np.int64)
        rows[: len(ids), -1] = ids
        rows[len(ids) : -1, :-1] = said.codes
        rows[-1, :-1] = 0
        return rows


def collate(examples: Sequence[Rows], depth_share: float, rng: np.random.Generator) -> Batch:
    """Pad to the longest and choose the frames for the depth decoder."""
    width = max(map(len, examples))
    rows = np.full((len(examples), width, examples[0].shape[1]), NOTHING, np.int64)
    for row, example in zip(rows, examples, strict=True):
        row[: len(example)] = example
    labels = np.where(rows[..., :-1] == NOTHING, IGNORED, rows[..., :-1])
    skipped = rng.random(rows.shape[:2]) >= depth_share
    # The ends of turns are rare: the depth decoder sees them all, or it would not learn to finish a frame of zeros.
    skipped &= (rows[..., :-1] != 0).any(-1)
    labels[..., 1:][skipped] = IGNORED
    return Batch(torch.from_numpy(rows), torch.from_numpy(labels))


def split(spoken: Sequence[Spoken], share: float = 0.05) -> tuple[list[Spoken], list[Spoken]]:
    """Training and validation sentences, by speaker, so that validation voices are new; never changes for a speaker."""
    held = {one.speaker for one in spoken if zlib.crc32(one.speaker.encode()) % 1000 < share * 1000}
    return [one for one in spoken if one.speaker not in held], [one for one in spoken if one.speaker in held]
