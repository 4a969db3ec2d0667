"""Mimi's encoder, for reference audio.

The layers are defined here again, with parameters named as in `transformers.MimiModel` but without its imports: a
server that runs from prepared weights takes 200 MB less.

The convolutions have dozens of channels at the full sample rate: for half a minute and CSM-1B's codec, 200 MB for each
intermediate result. They are causal and look back a fifth of a second, so the audio is convolved in pieces that overlap
by that much, and the results are put together. Everything behind them works on 25 positions a second and sees all.

Source: Kyutai, "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.3.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MimiConfig

from csm.model.mimi.transformer import SlidingTransformer

if TYPE_CHECKING:
    from transformers import MimiModel

PIECE_SECONDS = 2

_SAMPLED = 512
"""Values at either end of each tensor that tell one encoder from another."""


class MimiEncoder(nn.Module):
    """Samples in, codes out: exactly those of `MimiModel.encode`.

    Args:
        config: of the codec.

    Raises:
        ValueError: the codec is not a causal Mimi.
    """

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        if config.pad_mode != "constant" or not config.use_causal_conv:
            raise ValueError("only a causal Mimi with constant padding can be encoded in pieces")
        dim, stride = config.hidden_size, round(config.encodec_frame_rate / config.frame_rate)
        self.piece = PIECE_SECONDS * config.sampling_rate
        self.convolutions = Convolutions(config)
        self.transformer = SlidingTransformer(config)
        self.downsample = CausalConv1d(dim, dim, 2 * stride, stride, bias=False, pad_mode="replicate")
        self.semantic = NearestCodes(config, config.num_semantic_quantizers)
        self.acoustic = NearestCodes(config, config.num_quantizers - config.num_semantic_quantizers)

    @classmethod
    def from_model(cls, codec: "MimiModel") -> "MimiEncoder":
        """Use the weights of a codec without copying them; only the codebooks are computed."""
        return cls.from_weights(codec.config, _weights_of(codec)).to(codec.device)

    @classmethod
    def from_weights(cls, config: MimiConfig, weights: Mapping[str, Tensor]) -> "MimiEncoder":
        """Use the weights of another encoder's `state_dict` without copying them."""
        with torch.device("meta"):
            encoder = cls(config)
        encoder.load_state_dict(weights, assign=True)
        return encoder.eval().requires_grad_(False)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode reference audio.

        Args:
            samples: `[samples]` at the codec's sample rate.

        Returns:
            Codes `[frames, codebooks]`, one frame for every 80 ms begun.
        """
        x = torch.cat([*self._pieces(samples.view(1, 1, -1))], dim=-1).transpose(1, 2)
        x = self.transformer(x, iter(self.transformer.initial_state(1)), [])
        latents = self.downsample(x.transpose(1, 2))
        return torch.cat([self.semantic(latents), self.acoustic(latents)], dim=-1)

    def fingerprint(self) -> str:
        """Return a short hash of the weights; encoders of the same fingerprint return the same codes.

        Two ends of each tensor are hashed, because weights may be mapped from a file that was not read yet.
        """
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.state_dict().items():
            flat = tensor.flatten()
            ends = torch.cat([flat[:_SAMPLED], flat[-_SAMPLED:]]).float().cpu()
            digest.update(f"{name} {tuple(tensor.shape)} ".encode() + ends.numpy().tobytes())
        return digest.hexdigest()

    def _pieces(self, samples: Tensor) -> Iterator[Tensor]:
        """Yield the convolutions of `[1, 1, samples]` piece by piece, `[1, dim, positions]` each."""
        hop, reach = _geometry(self.convolutions)
        length, overlap = -(-self.piece // hop) * hop, -(-reach // hop) * hop
        for start in range(0, samples.shape[-1], length):
            begin = max(start - overlap, 0)
            yield self.convolutions(samples[..., begin : start + length])[..., (start - begin) // hop :]


class CausalConv1d(nn.Module):
    """A causal convolution; an incomplete last step is padded on the right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, pad_mode: str = "constant", **options: Any
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, **options)
        self.past, self.pad_mode = (kernel - 1) * self.conv.dilation[0] + 1 - stride, pad_mode

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[batch, in, time]` to `[batch, out, time / stride]`, rounded up."""
        y: Tensor = self.conv(F.pad(x, (self.past, -x.shape[-1] % self.conv.stride[0]), self.pad_mode))
        return y


class ResnetBlock(nn.Module):
    """SEANet's residual block."""

    def __init__(self, config: MimiConfig, dim: int, dilation: int) -> None:
        super().__init__()
        inner, kernel = dim // config.compress, config.residual_kernel_size
        narrow, widen = CausalConv1d(dim, inner, kernel, dilation=dilation), CausalConv1d(inner, dim, 1)
        self.block = nn.Sequential(nn.ELU(), narrow, nn.ELU(), widen)
        self.shortcut = CausalConv1d(dim, dim, 1) if config.use_conv_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, dim, time]`, unchanged in shape."""
        y: Tensor = self.shortcut(x) + self.block(x)
        return y


class Convolutions(nn.Module):
    """SEANet's encoder: every step has twice the channels and a lower rate, one position for 960 samples at the end."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width = config.num_filters
        layers: list[nn.Module] = [CausalConv1d(config.audio_channels, width, config.kernel_size)]
        for ratio in reversed(config.upsampling_ratios):
            dilations = [config.dilation_growth_rate**i for i in range(config.num_residual_layers)]
            layers += [ResnetBlock(config, width, dilation) for dilation in dilations]
            layers += [nn.ELU(), CausalConv1d(width, 2 * width, 2 * ratio, ratio)]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.ELU(), CausalConv1d(width, config.hidden_size, config.last_kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[batch, 1, samples]` to `[batch, dim, positions]`."""
        y: Tensor = self.layers(x)
        return y


class NearestCodes(nn.Module):
    """Residual quantisation: each codebook gives its vector nearest to what those before it left over."""

    tables: Tensor

    def __init__(self, config: MimiConfig, codebooks: int) -> None:
        super().__init__()
        outer, inner = config.hidden_size, config.vector_quantization_hidden_dimension
        self.register_buffer("tables", torch.empty(codebooks, config.codebook_size, config.codebook_dim))
        self.input_proj = nn.Identity() if inner == outer else nn.Conv1d(outer, inner, 1, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        """Quantise latents `[1, dim, frames]` to codes `[frames, codebooks]`."""
        rest, codes = self.input_proj(latents)[0].T, []
        for table in self.tables:
            codes.append(torch.cdist(rest[None], table[None])[0].argmin(dim=-1))
            rest = rest - F.embedding(codes[-1], table)
        return torch.stack(codes, dim=-1)


def _weights_of(codec: Any) -> dict[str, Tensor]:
    """Return the encoder's weights; since transformers 5.23 most are parts of `codec.encoder`."""
    owner = codec.encoder if hasattr(codec.encoder, "encoder_seanet") else codec
    quantizer = codec.quantizer
    parts = {
        "convolutions": getattr(owner, "encoder_seanet", codec.encoder).state_dict(),
        "transformer": owner.encoder_transformer.state_dict(),
        "downsample": owner.downsample.state_dict(),
        "semantic": _codebooks(quantizer.semantic_residual_vector_quantizer),
        "acoustic": _codebooks(quantizer.acoustic_residual_vector_quantizer),
    }
    return {f"{part}.{name}": tensor for part, weights in parts.items() for name, tensor in weights.items()}


def _codebooks(quantizer: Any) -> dict[str, Tensor]:
    tables = torch.stack([layer.codebook.embed.detach().float() for layer in quantizer.layers])
    projection = quantizer.input_proj
    return {"tables": tables} | ({} if projection is None else {"input_proj.weight": projection.weight.detach()})


def _geometry(convolutions: nn.Module) -> tuple[int, int]:
    """Return the samples for each position, and how many samples before these it depends on."""
    hop, reach = 1, 0
    for layer in convolutions.modules():
        if isinstance(layer, nn.Conv1d):
            reach += (layer.kernel_size[0] - 1) * layer.dilation[0] * hop
            hop *= layer.stride[0]
    return hop, reach
