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
        context_ids: token ids of the text of each turn that has audio.
        target_ids: token ids of the turn that is generated.
    """

    generation: Generation
    voice: CachedVoice
    context_ids: list[list[int]]
    target_ids: list[int]

    @classmethod
    def from_generation(cls, generation: Generation, voice: CachedVoice, tokenizer: Tokenizer) -> "Prompt":
        """Tokenize the conversation."""
        conversation = generation.conversation
        ids = [text_ids(turn, tokenizer) for turn in conversation.context]
        return cls(generation, voice, ids, text_ids(conversation.target, tokenizer))

    @property
    def prefix_length(self) -> int:
        """Positions of the context: for each turn its text, its frames, and an end frame."""
        frames = [len(codes) + 1 for codes in self.voice.codes or []]
        return sum(map(len, self.context_ids)) + sum(frames)

    @property
    def length(self) -> int:
        """Positions of the whole prompt."""
        return self.prefix_length + len(self.target_ids)


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
        parts = [] if prefix is not None else embed_context(runtime.embeddings, prompt)
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


def embed_context(embeddings: Embeddings, prompt: Prompt) -> list[Tensor]:
    """Embed each turn that has audio: its text, its frames, and the all-zero end frame."""
    parts: list[Tensor] = []
    for ids, codes in zip(prompt.context_ids, prompt.voice.codes or [], strict=True):
        frames = torch.cat([codes, codes.new_zeros(1, codes.shape[1])]).to(embeddings.text.device)
        parts += [embeddings.embed_text(_ids(ids, embeddings)), embeddings.embed_frames(frames)]
    return parts


def _ids(ids: Sequence[int], embeddings: Embeddings) -> Tensor:
    return torch.tensor(ids, device=embeddings.text.device)
