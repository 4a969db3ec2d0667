"""One frame of CSM: a step of the backbone, then 31 steps of the depth decoder, each ending in a draw.

    x ── backbone ── hidden ── head ── draw ──► code 0 ── depth ── draw ──► code 1 ── … ──► code 31 ── embed ──► x

The last position of the prompt is the first `x`: so a frame is the same computation from the first to the
last, and a prefill stops one position short.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.model.kv_cache import FunctionalKVCache
from csm.model.sampling import draw
from csm.model.transformer import Memory, Transformer


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
    def of(cls, model: Any) -> "Embeddings":
        """Those of `CsmForConditionalGeneration`."""
        audio = model.backbone_model.embed_tokens.embed_audio_tokens.weight
        return cls(model.embed_text_tokens.weight, audio, model.config.num_codebooks, audio.dtype)

    def embed_text(self, ids: Tensor) -> Tensor:
        """`[...]` token ids to `[..., dim]`."""
        return F.embedding(ids, self.text).to(self._dtype)

    def embed_frames(self, codes: Tensor) -> Tensor:
        """`[..., codebooks]` codes to `[..., dim]`: a frame is the sum of its codes."""
        return F.embedding(codes + self.offsets, self.audio).to(self._dtype).sum(dim=-2)


class DepthDecoder(nn.Module):
    """All codes of a frame from the backbone's hidden state.

    The audio embeddings are projected to the decoder's width beforehand, which saves a product per step; the
    heads are one matrix per codebook, padded so that a row is a multiple of 64 elements.

    Args:
        model: `CsmForConditionalGeneration`.
    """

    embeddings: Tensor
    first_bias: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        source, config = model.depth_decoder.model, model.config
        self.codebooks, self.vocab = config.num_codebooks, config.vocab_size
        self.codebook_size = config.codec_config.codebook_size
        self.first_head = model.lm_head
        self.project = source.inputs_embeds_projector
        self.register_buffer("embeddings", _project(source.embed_tokens.weight, self.project.weight), persistent=False)
        self.heads = nn.ModuleList(_padded_head(w) for w in model.depth_decoder.codebooks_head.weight)
        self.transformer = Transformer(source, positions=self.codebooks + 1)
        causal = torch.ones(1, 1, 2, 2, dtype=torch.bool, device=self.embeddings.device).tril()
        self.register_buffer("first_bias", attention_bias(causal, self.embeddings.dtype), persistent=False)

    def forward(self, hidden: Tensor, noise: Tensor, temperature: Tensor, top_k: Tensor, most: int | Tensor) -> Tensor:
        """Draw one frame per row.

        Args:
            hidden: of the backbone's last position, `[batch, dim]`.
            noise: Gumbel, `[batch, codebooks, codebook_size]`.
            temperature: `[batch]`.
            top_k: `[batch]`.
            most: largest `top_k`.

        Returns:
            Codes `[batch, codebooks]`.
        """
        # Once for all draws: on a GPU, a frame costs what its kernels take to launch.
        noise, rank = noise * temperature[:, None, None], top_k[:, None] - 1

        def choose(codebook: int, logits: Tensor) -> Tensor:
            return draw(logits, noise[:, codebook], rank, most)

        return self._unroll(hidden, choose)

    def score(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Logits `[batch, codebooks, codebook_size]` of each code, given the codes `[batch, codebooks]` before it."""
        scores: list[Tensor] = []

        def choose(codebook: int, logits: Tensor) -> Tensor:
            scores.append(logits)
            return codes[:, codebook]

        self._unroll(hidden, choose)
        return torch.stack(scores, dim=1)

    def _unroll(self, hidden: Tensor, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Codebook by codebook: logits, a choice, and the choice as the next input."""
        code = choose(0, self._known(self.first_head(hidden)))
        codes, memory = [code], FunctionalKVCache()
        x = torch.stack([self.project(hidden), self.embeddings[code]], dim=1)
        for step, head in enumerate(self.heads, start=1):
            code = choose(step, self._known(head(self._step(x, step, memory))))
            codes.append(code)
            x = self.embeddings[code + step * self.vocab][:, None]
        return torch.stack(codes, dim=1)

    def _step(self, x: Tensor, step: int, memory: Memory) -> Tensor:
        """Hidden state of position `step`; the first call covers positions 0 and 1."""
        time = x.shape[1]
        bias = self.first_bias if time > 1 else None
        result: Tensor = self.transformer(x, slice(step + 1 - time, step + 1), bias, memory)[:, -1]
        return result

    def _known(self, logits: Tensor) -> Tensor:
        """Only what Mimi can decode: the vocabulary has three codes more than the codec, and heads are padded."""
        return logits[:, : self.codebook_size]


class Backbone(nn.Module):
    """The transformer over turns.

    Args:
        model: `CsmForConditionalGeneration`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.transformer = Transformer(model.backbone_model, model.config.max_position_embeddings)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None, memory: Memory) -> Tensor:
        """Run `Transformer.forward` on a copy: `x` is not changed."""
        result: Tensor = self.transformer(x.clone(), positions, mask, memory)
        return result


def causal_mask(positions: Tensor, length: int) -> Tensor:
    """True where a query at `positions` `[batch, time]` may look at slot 0..length-1: `[batch, 1, time, length]`."""
    slots = torch.arange(length, device=positions.device)
    return (slots <= positions[:, :, None])[:, None]


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into what is added to the scores, once for all layers: attention would do it in every layer."""
    return torch.zeros((), dtype=dtype, device=mask.device).where(mask, -torch.inf)


def _project(embeddings: Tensor, projector: Tensor) -> Tensor:
    return embeddings.detach() @ projector.detach().T


def _padded_head(weight: Tensor) -> nn.Linear:
    """A head `[dim, vocab]` as a linear layer with a multiple of 64 outputs."""
    dim, vocab = weight.shape
    padded = F.pad(weight.detach().T, (0, 0, 0, -vocab % 64)).contiguous()
    head = nn.Linear(dim, len(padded), bias=False, device="meta")
    head.weight = nn.Parameter(padded, requires_grad=False)
    return head
