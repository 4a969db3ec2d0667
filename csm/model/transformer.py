"""The Llama transformer of backbone and depth decoder, arranged for decoding.

Weights are taken from the layers of `transformers` and fused into fewer matrix products: query, key and value into one,
gate and up into another. Keys and values live in the `KVCache` that is passed in, so the same definition runs eagerly,
in CUDA graphs, and in the export to OpenVINO.

Sources: Touvron et al., "LLaMA", 2023 (RMSNorm, SwiGLU, RoPE); Ainslie et al., "GQA", 2023.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.model.kv_cache import KVCache
from csm.model.operations import PLAIN, Operations


class Attention(nn.Module):
    """Grouped-query attention with a fused projection."""

    def __init__(self, source: Any, config: Any) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.qkv = fuse(source.q_proj, source.k_proj, source.v_proj)
        self.out = source.o_proj

    def forward(
        self,
        residual: Tensor,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KVCache,
        layer: int,
        operations: Operations,
    ) -> Tensor:
        """Add the attention of `x` to `residual` in place and return it; both `[batch, time, dim]`."""
        batch, time, _ = x.shape
        heads = self.qkv(x).view(batch, time, self.heads + 2 * self.kv_heads, self.head_dim)
        return add_product(residual, operations.attend(heads, self.kv_heads, rope, mask, cache, layer), self.out)


class Block(nn.Module):
    """A layer: attention and SwiGLU, each behind an RMSNorm and added to the residual."""

    def __init__(self, source: Any, config: Any) -> None:
        super().__init__()
        self.attention = Attention(source.self_attn, config)
        self.attention_norm = RMSNorm(source.input_layernorm)
        self.mlp_norm = RMSNorm(source.post_attention_layernorm)
        self.gate_up = fuse(source.mlp.gate_proj, source.mlp.up_proj)
        self.down = source.mlp.down_proj

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KVCache,
        layer: int,
        operations: Operations,
    ) -> Tensor:
        """Run the layer on `x` `[batch, time, dim]` in place and return it."""
        x = self.attention(x, self.attention_norm(x), rope, mask, cache, layer, operations)
        return add_product(x, operations.swiglu(self.gate_up(self.mlp_norm(x))), self.down)


class Transformer(nn.Module):
    """A stack of blocks and the final norm.

    Args:
        source: `CsmBackboneModel` or `CsmDepthDecoderModel`. Its layers are emptied as they are taken over, so that no
            weight is held twice.
        positions: length of the tables of the rotary embedding.

    Attributes:
        operations: that layers use.

    Raises:
        ValueError: the layers are not CSM's.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, source: Any, positions: int) -> None:
        super().__init__()
        config = source.config
        if config.attention_bias or config.mlp_bias or config.hidden_act != "silu":
            raise ValueError("only CSM's own layers are known: no biases, SiLU")
        self.dim, self.head_dim, self.kv_heads = config.hidden_size, config.head_dim, config.num_key_value_heads
        self.operations = PLAIN
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.blocks = nn.ModuleList(Block(source.layers[i], config) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(source.norm)
        cos, sin = _rotations(source.rotary_emb, positions)
        self.register_buffer("cos", cos.to(self.norm.weight.dtype), persistent=False)
        self.register_buffer("sin", sin.to(self.norm.weight.dtype), persistent=False)

    def forward(self, x: Tensor, positions: Tensor | slice, mask: Tensor | None, cache: KVCache) -> Tensor:
        """Run all layers.

        Args:
            x: embeddings `[batch, time, dim]`; overwritten.
            positions: `[batch, time]`, or `[1, time]` or a slice where all rows agree.
            mask: `[batch, 1, time, positions]`, True where a query may attend, or a bias; None for no mask.
            cache: of these rows.

        Returns:
            Normalised hidden states `[batch, time, dim]`.
        """
        # [batch, time, 1, head_dim] or [time, 1, head_dim]: the same for all heads.
        rope = self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)
        if mask is not None and x.shape[1] > 1:
            # Queries that share a key are laid out as further positions, see `operations.grouped_attention`.
            mask = mask.repeat(1, 1, self.groups, 1)
        for layer, block in enumerate(self.blocks):
            x = block(x, rope, mask, cache, layer, self.operations)
        result: Tensor = self.norm(x)
        return result


class RMSNorm(nn.Module):
    """Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; computed in float32."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.weight, self.eps = source.weight, source.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def fuse(*layers: nn.Linear) -> nn.Linear:
    """Return one linear layer that computes all of `layers`, which are emptied to free their weights."""
    first = layers[0]
    fused = nn.Linear(1, 1, bias=False, device="meta")
    fused.in_features, fused.out_features = first.in_features, sum(layer.out_features for layer in layers)
    fused.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    for layer in layers:
        layer.weight = nn.Parameter(first.weight.new_empty(0), requires_grad=False)
    return fused


def add_product(residual: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
    """Add `layer(x)` to `residual` in place: a matrix product can do it without another kernel."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        # OpenVINO does not convert the in-place form; it fuses the sum itself.
        result: Tensor = residual + layer(x)
        return result
    residual.view(-1, residual.shape[-1]).addmm_(x.flatten(0, -2), layer.weight.T)
    return residual


def _rotations(rotary: Any, positions: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines `[positions, head_dim]`, with the checkpoint's frequency scaling (Llama 3's)."""
    frequencies = rotary.inv_freq.float()
    angles = torch.arange(positions, device=frequencies.device, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
