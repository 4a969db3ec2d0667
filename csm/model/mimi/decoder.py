"""Mimi's decoder as a stream: however it is cut into chunks, the samples are those of one long decode.

`transformers.MimiModel` decodes a whole utterance at once. To do the same chunk by chunk, three things are carried over
in a `State`: the inputs that causal convolutions look back on, the outputs of transposed convolutions that reach into
the next chunk, and the keys and values within the transformer's sliding window. Every tensor of a state has the stream
as its first dimension, so streams of different age are decoded in one batch.

Source: Kyutai, "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.3.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.model.mimi.transformer import SlidingTransformer, State

if TYPE_CHECKING:
    from transformers import MimiModel


class StreamingConv1d(nn.Module):
    """A causal convolution of stride 1 that keeps the inputs it looks back on."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.conv = conv
        self.context = (conv.kernel_size[0] - 1) * conv.dilation[0]

    def initial_state(self, batch: int) -> State:
        """Return silence before the first sample: `[batch, channels, context]`."""
        return [self.conv.weight.new_zeros(batch, self.conv.in_channels, self.context)] if self.context else []

    def forward(self, x: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """Convolve `[batch, in, time]` to `[batch, out, time]`."""
        if self.context:
            x = torch.cat([next(past), x], dim=-1)
            now.append(x[..., -self.context :])
        result: Tensor = self.conv(x)
        return result


class StreamingConvTranspose1d(nn.Module):
    """A causal transposed convolution whose kernel is twice its stride, as one matrix product.

    Each position contributes to the samples of its own stride and of the next one. The contribution of a chunk's last
    position to the next chunk is carried over. As a matrix product, the weights are read and packed once, which
    runtimes do not manage for transposed convolutions.

    Raises:
        ValueError: the kernel has another size.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        (self.stride,), (kernel,), self.channels = conv.stride, conv.kernel_size, conv.out_channels
        if kernel != 2 * self.stride or conv.groups not in (1, conv.in_channels):
            raise ValueError("only transposed convolutions with kernels of two strides are known, whole or by channel")
        self.by_channel = conv.groups > 1
        # [in, out, kernel] to [(half, out, stride), in]; by channel [channels, 1, kernel] to [half, channels, stride].
        weight = conv.weight.detach()
        halves = weight.view(*weight.shape[:2], 2, self.stride).movedim(2, 0)
        weight = halves[:, :, 0] if self.by_channel else halves.movedim(1, -1).flatten(0, 2)
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        # Added after the overlap, or overlapping samples would get it twice.
        self.bias = None if conv.bias is None else conv.bias.view(1, -1, 1)

    def initial_state(self, batch: int) -> State:
        """Return zeros `[batch, channels, stride]`."""
        return [self.weight.new_zeros(batch, self.channels, self.stride)]

    def forward(self, x: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """Convolve `[batch, in, time]` to `[batch, out, time * stride]`."""
        own, carried = self._halves(x)
        carried = torch.cat([next(past)[:, None], carried], dim=1)
        now.append(carried[:, -1])
        y = (own + carried[:, :-1]).transpose(1, 2).flatten(2)
        return y if self.bias is None else y + self.bias

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return contributions to the own and to the next stride, `[batch, time, channels, stride]` each."""
        if self.by_channel:
            x = x.transpose(1, 2)[..., None]
            return x * self.weight[0], x * self.weight[1]
        both = F.linear(x.transpose(1, 2), self.weight)
        own, carried = both.view(*both.shape[:2], 2, self.channels, self.stride).unbind(2)
        return own, carried


class StreamingResnetBlock(nn.Module):
    """SEANet's residual block."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_streaming(layer) for layer in block.block)
        self.shortcut = _streaming(block.shortcut)

    def initial_state(self, batch: int) -> State:
        """Return the state of both branches."""
        return _initial_state([*self.layers, self.shortcut], batch)

    def forward(self, x: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """`[batch, channels, time]`, unchanged in shape."""
        y = x
        for layer in self.layers:
            y = layer(y, past, now)
        shortcut: Tensor = self.shortcut(x, past, now)
        return shortcut + y


class Pointwise(nn.Module):
    """A layer without state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def initial_state(self, batch: int) -> State:
        """Return no state."""
        return []

    def forward(self, x: Tensor, past: Iterator[Tensor], now: State) -> Tensor:
        """Apply the layer."""
        result: Tensor = self.layer(x)
        return result


class MimiDecoder(nn.Module):
    """Codes in, samples out, chunk by chunk; put together, they are exactly those of `MimiModel.decode`.

    Args:
        codec: whose weights are used, not copied.

    Raises:
        ValueError: the codec is not a causal Mimi.
    """

    def __init__(self, codec: "MimiModel") -> None:
        super().__init__()
        config = codec.config
        if config.pad_mode != "constant" or not config.use_causal_conv or config.trim_right_ratio != 1.0:
            raise ValueError("only a causal Mimi with constant padding can be decoded as a stream")
        upsample, transformer, seanet = _decoder_parts(codec)
        self.quantizers = nn.ModuleList(_split_quantizer(codec))
        self.semantic = config.num_semantic_quantizers
        self.codebooks, self.codebook_size = config.num_quantizers, config.codebook_size
        self.upsample = _streaming(upsample)
        self.transformer = SlidingTransformer.from_model(transformer, config)
        self.seanet = nn.ModuleList(_streaming(layer) for layer in seanet.layers)

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` new streams."""
        return _initial_state([self.upsample, self.transformer, *self.seanet], batch)

    def forward(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """Decode the next frames of each stream.

        Args:
            codes: `[batch, codebooks, frames]`, each below the codebook size.
            state: of these streams.

        Returns:
            Samples `[batch, frames * 1920]`, and the state to go on from.
        """
        past, now = iter(state), State()
        x = self.upsample(self._latents(codes), past, now)
        x = self.transformer(x.transpose(1, 2), past, now).transpose(1, 2)
        for layer in self.seanet:
            x = layer(x, past, now)
        return x[:, 0], now

    def _latents(self, codes: Tensor) -> Tensor:
        semantic, acoustic = self.quantizers
        latents: Tensor = semantic(codes[:, : self.semantic]) + acoustic(codes[:, self.semantic :])
        return latents


class Codebooks(nn.Module):
    """Residual codebooks: from codes `[batch, codebooks, frames]` to latents `[batch, dim, frames]`."""

    table: Tensor
    offsets: Tensor

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        tables = torch.stack([layer.codebook.embed.detach() for layer in quantizer.layers])
        count, self.size, _ = tables.shape
        self.register_buffer("table", tables.flatten(0, 1), persistent=False)
        self.register_buffer(
            "offsets", torch.arange(count, device=tables.device)[:, None] * self.size, persistent=False
        )
        self.projection = quantizer.output_proj or nn.Identity()

    def forward(self, codes: Tensor) -> Tensor:
        """Sum the vectors of all codebooks, then project."""
        summed = F.embedding(codes + self.offsets, self.table).sum(dim=1)
        latents: Tensor = self.projection(summed.transpose(1, 2))
        return latents


def _streaming(layer: Any) -> Any:
    """Return the streaming counterpart of a layer of `MimiModel`."""
    if hasattr(layer, "block"):
        return StreamingResnetBlock(layer)
    conv = getattr(layer, "conv", None)
    if isinstance(conv, nn.ConvTranspose1d):
        return StreamingConvTranspose1d(conv)
    return StreamingConv1d(conv) if isinstance(conv, nn.Conv1d) else Pointwise(layer)


def _initial_state(layers: Sequence[Any], batch: int) -> State:
    return [tensor for layer in layers for tensor in layer.initial_state(batch)]


def _decoder_parts(codec: Any) -> tuple[Any, Any, Any]:
    """Return upsampling, transformer and SEANet; since transformers 5.23 they are parts of `codec.decoder`."""
    owner = codec.decoder if hasattr(codec.decoder, "decoder_seanet") else codec
    return owner.upsample, owner.decoder_transformer, getattr(owner, "decoder_seanet", codec.decoder)


def _split_quantizer(codec: "MimiModel") -> list[Codebooks]:
    quantizer = codec.quantizer
    parts = (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer)
    return [Codebooks(part) for part in parts]
