"""Prefill of a prompt in chunks, starting behind the positions whose keys and values are cached."""

import time
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import Tensor

from csm.engine.prefix_cache import CachedVoice
from csm.engine.request import Generation
from csm.engine.runtimes.base import Runtime
from csm.model.backbone import Embeddings
from csm.model.conversation import Tokenizer, text_ids
from csm.model.kv_cache import Prefix

NO_TOKEN = -1
"""In the place of the token id of a position that holds a frame."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """The token and code rows of a generation's prompt.

    Attributes:
        generation: the generation that this is the prompt of.
        voice: the voice of its context, with codes.
        rows: int64 `[positions, 1 + codebooks]`, what is at each position: a token id and zeros, or `NO_TOKEN` and the
            codes of a frame.
        prefix_length: positions of the context.
        queued: when it was queued, by the monotonic clock.
    """

    generation: Generation
    voice: CachedVoice
    rows: Tensor
    prefix_length: int
    queued: float = field(default_factory=time.monotonic)

    @classmethod
    def from_generation(
        cls, generation: Generation, voice: CachedVoice, tokenizer: Tokenizer, codebooks: int
    ) -> "Prompt":
        """Lay out a conversation: for each turn its text and, if it has audio, its frames and an all-zero end frame.

        Args:
            generation: of the conversation.
            voice: of its context.
            tokenizer: of the checkpoint.
            codebooks: codes per frame.
        """
        conversation = generation.conversation
        context, said = voice.codes or [], [torch.from_numpy(t.codes) for t in conversation.said if t.codes is not None]
        rows: list[Tensor] = []
        for turn, codes in zip_longest(conversation.turns, [*context, *said]):
            ids = torch.tensor(text_ids(turn, tokenizer))[:, None]
            rows.append(torch.cat([ids, ids.new_zeros(len(ids), codebooks)], dim=1))
            if codes is not None:
                rows.append(frame_rows(torch.cat([codes, codes.new_zeros(1, codebooks)])))
        return cls(generation, voice, torch.cat(rows), sum(map(len, rows[: 2 * len(context)])))

    @property
    def length(self) -> int:
        """Positions of the whole prompt."""
        return len(self.rows)

    def cached(self) -> Prefix | None:
        """Return the longest cached prefix: of the conversation so far, else of the voice."""
        cache = self.generation.cache
        # The last position is the input of the first frame, so it is never taken from a cache.
        so_far = None if cache is None else cache.common(self.rows[:-1])
        found = [prefix for prefix in (so_far, self.voice.prefix) if prefix is not None]
        return max(found, key=lambda prefix: prefix.shape[2], default=None)


class ChunkedPrefill:
    """The prefill of one prompt up to its last position, which is the input of the first frame.

    Args:
        prompt: to prefill.
        runtime: the model on its device; no other prefill may use it meanwhile.
    """

    def __init__(self, prompt: Prompt, runtime: Runtime) -> None:
        self.prompt, self._runtime = prompt, runtime
        cached = prompt.cached()
        self._start = self._at = 0 if cached is None else cached.shape[2]
        self._x = _embed(runtime.embeddings, prompt.rows[self._start :])
        if cached is not None:
            runtime.load_prefix(cached)

    @property
    def done(self) -> bool:
        """Whether only the last position is left."""
        return self._at >= self.prompt.length - 1

    @property
    def last(self) -> Tensor:
        """The embedding `[dim]` of the prompt's last position."""
        return self._x[-1]

    def advance(self, positions: int) -> int:
        """Prefill at most `positions` positions, and return how many; store the voice's prefix once it is complete."""
        prefix_length, voice, start = self.prompt.prefix_length, self.prompt.voice, self._at
        end = min(start + positions, self.prompt.length - 1)
        if start < prefix_length:
            end = min(end, prefix_length)
        self._runtime.prefill(self._x[start - self._start : end - self._start], start)
        self._at = end
        if end == prefix_length and voice.prefix is None:
            voice.prefix = self._runtime.save_prefix(end)
        return end - start


def frame_rows(codes: Tensor) -> Tensor:
    """Return the rows (`Prompt.rows`) of frames `[frames, codebooks]`."""
    return torch.cat([codes.new_full((len(codes), 1), NO_TOKEN), codes], dim=1)


def _embed(embeddings: Embeddings, rows: Tensor) -> Tensor:
    """Embed rows (`Prompt.rows`) as `[positions, dim]`."""
    rows = rows.to(embeddings.text.device)
    ids, codes = rows[:, 0], rows[:, 1:]
    # Each position is looked up in both tables: a mask would make the host wait for the device.
    text, frames = embeddings.embed_text(ids.clamp(min=0)), embeddings.embed_frames(codes)
    return torch.where((ids == NO_TOKEN)[:, None], frames, text)
