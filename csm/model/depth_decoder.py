"""The depth decoder: all codes of a frame from the backbone's hidden state.

    x ── backbone ── hidden ── head ── draw ──► code 0 ── depth ── draw ──► code 1 ── … ──► code 31 ── embed ──► x

The last position of the prompt is the first `x`. So every frame is the same computation, the first one too, and a
prefill stops one position short.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.model.backbone import attention_bias
from csm.model.kv_cache import KVCache
from csm.model.sampling import Rules, draw_first
from csm.model.transformer import Transformer


class DepthDecoder(nn.Module):
    """Draws all codes of a frame, one codebook after the other.

    The audio embeddings are projected to the decoder's width beforehand, which saves a matrix product in every step.
    The heads are padded to a multiple of 64 outputs.

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

    def forward(self, hidden: Tensor, noise: Tensor, rules: Rules, max_top_k: int | Tensor) -> Tensor:
        """Draw one frame per row.

        Args:
            hidden: of the backbone's last position, `[batch, dim]`.
            noise: Gumbel, `[batch, codebooks + 1, codebook_size]`; the last is for a second draw of the first code.
            rules: of the rows.
            max_top_k: largest top-k of the rows.

        Returns:
            Codes `[batch, codebooks]`.
        """
        draw = self.transformer.operations.draw
        # Once for all draws: a GPU spends most of a frame on launching kernels.
        noise, rank = noise * rules.temperature[:, None, None], rules.top_k[:, None] - 1

        def choose(codebook: int, logits: Tensor) -> Tensor:
            if codebook == 0:
                return draw_first(logits, noise[:, 0], noise[:, -1], rank, rules, max_top_k, draw)
            return draw(logits, noise[:, codebook], rank, max_top_k)

        return self._unroll(hidden, choose)

    def score(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Return logits `[batch, codebooks, codebook_size]`, each given the `codes` `[batch, codebooks]` before it."""
        scores: list[Tensor] = []

        def choose(codebook: int, logits: Tensor) -> Tensor:
            scores.append(logits)
            return codes[:, codebook]

        self._unroll(hidden, choose)
        return torch.stack(scores, dim=1)

    def _unroll(self, hidden: Tensor, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """For each codebook, compute logits, choose a code, and embed it as the next input."""
        code = choose(0, self._known(self.first_head(hidden)))
        codes, cache = [code], self._empty_cache(hidden)
        tables = self.embeddings.view(self.codebooks, self.vocab, -1)
        x = torch.stack([self.project(hidden), F.embedding(code, tables[0])], dim=1)
        for step, head in enumerate(self.heads, start=1):
            code = choose(step, self._known(head(self._step(x, step, cache))))
            codes.append(code)
            x = F.embedding(code, tables[step])[:, None]
        return torch.stack(codes, dim=1)

    def _step(self, x: Tensor, step: int, cache: KVCache) -> Tensor:
        """Return the hidden state of position `step`; the first call covers positions 0 and 1."""
        time = x.shape[1]
        bias = self.first_bias if time > 1 else None
        result: Tensor = self.transformer(x, slice(step + 1 - time, step + 1), bias, cache)[:, -1]
        return result

    def _empty_cache(self, hidden: Tensor) -> KVCache:
        stack = self.transformer
        shape = (len(stack.blocks), self.codebooks + 1, stack.kv_heads, stack.head_dim)
        return stack.operations.depth_cache(hidden, *shape)

    def _known(self, logits: Tensor) -> Tensor:
        """Drop logits of codes that Mimi cannot decode: three special ones, and the padding of the heads."""
        return logits[:, : self.codebook_size]


def _project(embeddings: Tensor, projector: Tensor) -> Tensor:
    return embeddings.detach() @ projector.detach().T


def _padded_head(weight: Tensor) -> nn.Linear:
    """Return a head `[dim, vocab]` as a linear layer with a multiple of 64 outputs."""
    dim, vocab = weight.shape
    padded = F.pad(weight.detach().T, (0, 0, 0, -vocab % 64)).contiguous()
    head = nn.Linear(dim, len(padded), bias=False, device="meta")
    head.weight = nn.Parameter(padded, requires_grad=False)
    return head
