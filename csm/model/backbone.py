"""The backbone: text tokens and audio frames in, a hidden state for the next frame out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.model.kv_cache import KVCache
from csm.model.transformer import Transformer


class Embeddings(nn.Module):
    """Text tokens and audio frames as inputs of the backbone.

    Args:
        text: `[text vocabulary, dim]`.
        audio: `[codebooks * vocabulary, dim]`.
        codebooks: codes per frame.
        dtype: of the results; the tables may be kept in another.
    """

    offsets: Tensor

    def __init__(self, text: Tensor, audio: Tensor, codebooks: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.text, self.audio, self._dtype = text, audio, dtype
        offsets = torch.arange(codebooks, device=audio.device) * (len(audio) // codebooks)
        self.register_buffer("offsets", offsets, persistent=False)

    @classmethod
    def from_model(cls, model: Any) -> "Embeddings":
        """Take the tables of a `CsmForConditionalGeneration`."""
        audio = model.backbone_model.embed_tokens.embed_audio_tokens.weight
        return cls(model.embed_text_tokens.weight, audio, model.config.num_codebooks, audio.dtype)

    def embed_text(self, ids: Tensor) -> Tensor:
        """Embed token ids `[...]` as `[..., dim]`."""
        return F.embedding(ids, self.text).to(self._dtype)

    def embed_frames(self, codes: Tensor) -> Tensor:
        """Embed codes `[..., codebooks]` as `[..., dim]`: a frame is the sum of its codes."""
        return F.embedding(codes + self.offsets, self.audio).to(self._dtype).sum(dim=-2)


class Backbone(nn.Module):
    """The transformer over all positions of a conversation.

    Args:
        model: `CsmForConditionalGeneration`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.transformer = Transformer(model.backbone_model, model.config.max_position_embeddings)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache) -> Tensor:
        """Run `Transformer.forward` on a copy: `x` is not changed."""
        result: Tensor = self.transformer(x.clone(), positions, mask, cache)
        return result


def causal_mask(positions: Tensor, length: int) -> Tensor:
    """Return `[batch, 1, time, length]`: True where a query at `positions` `[batch, time]` may attend to a key."""
    keys = torch.arange(length, device=positions.device)
    return (keys <= positions[:, :, None])[:, None]


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into the bias that attention adds to its scores; given a mask, it would do so in every layer."""
    return torch.zeros((), dtype=dtype, device=mask.device).where(mask, -torch.inf)
