"""The transformer of Mimi's encoder and decoder: causal attention within a sliding window.

What a stream carries from chunk to chunk is explained in `csm.model.mimi.decoder`. Parameters are named as in
`transformers.MimiModel`, so that its weights load here.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MimiConfig

State = list[Tensor]
Rotations = tuple[Tensor, Tensor]


class SlidingTransformer(nn.Module):
    """Causal layers that keep keys and values for one sliding window.

    Args:
        config: of the codec.

    Raises:
        ValueError: its layers are not Mimi's.
    """

    inv_freq: Tensor

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        grouped = config.num_key_value_heads != config.num_attention_heads
        if config.attention_bias or config.hidden_act != "gelu" or grouped:
            raise ValueError("only Mimi's own layers are known: no biases, GELU, a key and a value for each head")
        self.heads, self.head_dim, self.window = config.num_attention_heads, config.head_dim, config.sliding_window
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        # Made on the CPU: a model that is made on the meta device needs these values too.
        powers = torch.arange(0, self.head_dim, 2, dtype=torch.float, device="cpu") / self.head_dim
        inv_freq = 1.0 / (config.rope_parameters["rope_theta"] ** powers)
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    @classmethod
    def from_model(cls, source: nn.Module, config: MimiConfig) -> "SlidingTransformer":
        """Take the weights of a transformer of `MimiModel`, with the layer scales folded in."""
        with torch.device("meta"):
            transformer = cls(config)
        transformer.load_state_dict(source.state_dict(), assign=True)
        for layer in transformer.modules():
            if isinstance(layer, Layer):
                layer.fold()
        return transformer.to(next(source.parameters()).device)

    def initial_state(self, batch: int) -> State:
        """Return ages in positions `[batch]`, then each layer's keys, values `[batch, heads, window - 1, head_dim]`."""
        like = next(self.parameters())
        shape = (batch, self.heads, self.window - 1, self.head_dim)
        age = torch.zeros(batch, dtype=torch.long, device=like.device)
        return [age, *(like.new_zeros(shape) for _ in range(2 * len(self.layers)))]

    def forward(self, x: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """`[batch, time, dim]`, unchanged in shape."""
        age, time = next(past), x.shape[1]
        now.append(age + time)
        rope, mask = self._rotations(age, time), self._mask(age, time)
        for layer in self.layers:
            x = layer(x, rope, mask, past, now)
        return x

    def _rotations(self, age: Tensor, time: int) -> Rotations:
        positions = age[:, None] + torch.arange(time, device=age.device)
        angles = positions[:, None, :, None] * self.inv_freq
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def _mask(self, age: Tensor, time: int) -> Tensor:
        """Return `[batch, 1, time, window - 1 + time]`: True where a query attends to a key of past or chunk."""
        query = torch.arange(time, device=age.device)[:, None]
        key = torch.arange(self.window - 1 + time, device=age.device)[None, :]
        within = (key >= query) & (key <= query + self.window - 1)
        exists = key + age[:, None, None] >= self.window - 1
        mask: Tensor = (within & exists)[:, None]
        return mask


class Layer(nn.Module):
    """A layer: attention and feed-forward, each behind a LayerNorm, scaled per channel and added to the residual."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.input_layernorm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.self_attn, self.mlp = Attention(config), FeedForward(config)
        self.self_attn_layer_scale, self.mlp_layer_scale = LayerScale(dim), LayerScale(dim)

    def forward(self, x: Tensor, rope: Rotations, mask: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """`[batch, time, dim]`, unchanged in shape."""
        x = x + self.self_attn_layer_scale(self.self_attn(self.input_layernorm(x), rope, mask, past, now))
        y: Tensor = x + self.mlp_layer_scale(self.mlp(self.post_attention_layernorm(x)))
        return y

    def fold(self) -> None:
        """Multiply each scale into the product before it. Graph compilers would do so too, but keep both copies."""
        for product, name in ((self.self_attn.o_proj, "self_attn_layer_scale"), (self.mlp.fc2, "mlp_layer_scale")):
            scale = getattr(self, name).scale.detach()
            product.weight = nn.Parameter(product.weight.detach() * scale[:, None], requires_grad=False)
            setattr(self, name, nn.Identity())


class Attention(nn.Module):
    """Multi-head attention over past and present positions."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        outer, inner = config.hidden_size, self.heads * self.head_dim
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(outer, inner, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(inner, outer, bias=False)

    def forward(self, x: Tensor, rope: Rotations, mask: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """`[batch, time, dim]`, unchanged in shape."""
        batch, time, _ = x.shape
        q = _rotate(self._split(self.q_proj(x)), *rope)
        k = torch.cat([next(past), _rotate(self._split(self.k_proj(x)), *rope)], dim=2)
        v = torch.cat([next(past), self._split(self.v_proj(x))], dim=2)
        now += [k[:, :, time:], v[:, :, time:]]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        result: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, time, -1))
        return result

    def _split(self, x: Tensor) -> Tensor:
        """Split `[batch, time, dim]` into heads `[batch, heads, time, head_dim]`."""
        return x.view(*x.shape[:2], self.heads, self.head_dim).transpose(1, 2)


class FeedForward(nn.Module):
    """Two products around a GELU."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., dim]`, unchanged in shape."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class LayerScale(nn.Module):
    """A factor per channel. Touvron et al., "Going deeper with image transformers", 2021."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., dim]`, unchanged in shape."""
        return self.scale * x


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding in Llama's layout, where the halves of a head are the pairs."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin
