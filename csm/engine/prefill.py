"""Prefill of a prompt in chunks, starting from the cached prefix of its voice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csm.engine.prefix_cache import CachedVoice
from csm.engine.request import Generation
from csm.engine.runtimes.base import Runtime
from csm.model.backbone import Embeddings
from csm.model.conversation import Tokenizer, text_ids


@dataclass(frozen=True, eq=False)
class Prompt:
    """A generation that waits for its slot.

    Attributes:
        generation: that it is the prompt of.
        voice: with its codes.
        context_ids: token ids of the text of each turn of the context.
        said_ids: token ids of the text of each turn that was said before.
        target_ids: token ids of the turn that is generated.
    """

    generation: Generation
    voice: CachedVoice
    context_ids: list[list[int]]
    said_ids: list[list[int]]
    target_ids: list[int]

    @classmethod
    def from_generation(cls, generation: Generation, voice: CachedVoice, tokenizer: Tokenizer) -> "Prompt":
        """Tokenize the conversation."""
        conversation = generation.conversation
        context, said = (
            [text_ids(turn, tokenizer) for turn in turns] for turns in (conversation.context, conversation.said)
        )
        return cls(generation, voice, context, said, text_ids(conversation.target, tokenizer))

    @property
    def prefix_length(self) -> int:
        """Positions of the context: for each turn its text, its frames, and an end frame."""
        return _positions(self.context_ids, self.voice.codes or [])

    @property
    def length(self) -> int:
        """Positions of the whole prompt."""
        return self.prefix_length + _positions(self.said_ids, self.said_codes) + len(self.target_ids)

    @property
    def said_codes(self) -> list[Tensor]:
        """Codes `[frames, codebooks]` of each turn that was said before."""
        return [torch.from_numpy(turn.codes) for turn in self.generation.conversation.said if turn.codes is not None]


class ChunkedPrefill:
    """The prefill of one prompt up to its last position, which is the input of the first frame.

    Args:
        prompt: to prefill.
        runtime: that no other prefill uses meanwhile.
    """

    def __init__(self, prompt: Prompt, runtime: Runtime) -> None:
        self.prompt, self._runtime = prompt, runtime
        self._prefix_length = prompt.prefix_length
        # A reference of its own: the cache may evict the prefix meanwhile.
        prefix = prompt.voice.prefix
        parts = [] if prefix is not None else _embed(runtime.embeddings, prompt.context_ids, prompt.voice.codes or [])
        parts += _embed(runtime.embeddings, prompt.said_ids, prompt.said_codes)
        target = runtime.embeddings.embed_text(_ids(prompt.target_ids, runtime.embeddings))
        self._x = torch.cat([*parts, target])
        self._start = prompt.length - len(self._x)
        self._at = self._start
        if prefix is not None:
            runtime.load_prefix(prefix)

    @property
    def done(self) -> bool:
        """Whether only the last position is left."""
        return self._at >= self.prompt.length - 1

    @property
    def last(self) -> Tensor:
        """The embedding `[dim]` of the prompt's last position."""
        return self._x[-1]

    def advance(self, positions: int) -> None:
        """Prefill at most so many positions; store the voice's prefix as soon as it is complete."""
        end = min(self._at + positions, self.prompt.length - 1)
        if self._at < self._prefix_length:
            end = min(end, self._prefix_length)
        self._runtime.prefill(self._x[self._at - self._start : end - self._start], self._at)
        self._at = end
        if end == self._prefix_length and self.prompt.voice.prefix is None:
            self.prompt.voice.prefix = self._runtime.save_prefix(end)


def _embed(embeddings: Embeddings, texts: Sequence[Sequence[int]], frames: Sequence[Tensor]) -> list[Tensor]:
    """Embed turns that have audio: for each its text, its frames, and the all-zero end frame."""
    parts: list[Tensor] = []
    for ids, codes in zip(texts, frames, strict=True):
        with_end = torch.cat([codes, codes.new_zeros(1, codes.shape[1])]).to(embeddings.text.device)
        parts += [embeddings.embed_text(_ids(ids, embeddings)), embeddings.embed_frames(with_end)]
    return parts


def _positions(texts: Sequence[Sequence[int]], frames: Sequence[Tensor]) -> int:
    """Return the positions of turns that have audio, as `_embed` lays them out."""
    return sum(map(len, texts)) + sum(len(codes) + 1 for codes in frames)


def _ids(ids: Sequence[int], embeddings: Embeddings) -> Tensor:
    return torch.tensor(ids, device=embeddings.text.device)
