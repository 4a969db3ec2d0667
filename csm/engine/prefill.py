"""Reading a prompt into the model, a piece at a time, starting from what is known of the voice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csm.engine.request import Generation
from csm.engine.runtimes.torch import Runtime
from csm.engine.prefix_cache import CachedVoice
from csm.model.conversation import Tokenizer, text_ids
from csm.model.depth_decoder import Embeddings


@dataclass(frozen=True, eq=False)
class Prompt:
    """A generation that waits for its slot.

    Attributes:
        generation: to be run.
        voice: encoded.
        context_ids: token ids of each heard turn's text.
        target_ids: of the turn to be said.
    """

    generation: Generation
    voice: CachedVoice
    context_ids: list[list[int]]
    target_ids: list[int]

    @classmethod
    def of(cls, generation: Generation, voice: CachedVoice, tokenizer: Tokenizer) -> "Prompt":
        """Tokenize the conversation."""
        said = generation.conversation
        ids = [text_ids(turn, tokenizer) for turn in said.context]
        return cls(generation, voice, ids, text_ids(said.target, tokenizer))

    @property
    def prefix_length(self) -> int:
        """Positions of the context: text, frames, and an end frame for each turn."""
        frames = [len(codes) + 1 for codes in self.voice.codes or []]
        return sum(map(len, self.context_ids)) + sum(frames)

    @property
    def length(self) -> int:
        """Positions of the whole prompt."""
        return self.prefix_length + len(self.target_ids)


class Reading:
    """A prompt on its way into the runtime.

    All but its last position are read here; the last is the input of the first frame.
    """

    def __init__(self, prompt: Prompt, runtime: Runtime) -> None:
        self.prompt, self._runtime = prompt, runtime
        self._border = prompt.prefix_length
        # Held here, because the cache may forget it meanwhile.
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
        """Read at most so many positions more; a voice's prefix is kept as soon as it is complete."""
        border = self._border if self._at < self._border else self.prompt.length - 1
        end = min(self._at + positions, border)
        self._runtime.prefill(self._x[self._at - self._start : end - self._start], self._at)
        self._at = end
        if end == self._border and self.prompt.voice.prefix is None:
            self.prompt.voice.prefix = self._runtime.save_prefix(end)


def embed_context(embeddings: Embeddings, prompt: Prompt) -> list[Tensor]:
    """Per heard turn: its text, its frames, and the all-zero end frame."""
    parts: list[Tensor] = []
    for ids, codes in zip(prompt.context_ids, prompt.voice.codes or [], strict=True):
        frames = torch.cat([codes, codes.new_zeros(1, codes.shape[1])]).to(embeddings.text.device)
        parts += [embeddings.embed_text(_ids(ids, embeddings)), embeddings.embed_frames(frames)]
    return parts


def _ids(ids: Sequence[int], embeddings: Embeddings) -> Tensor:
    return torch.tensor(ids, device=embeddings.text.device)
