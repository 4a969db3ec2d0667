"""Mimi, encoding a reference: all of it, but a few seconds at a time.

The first convolutions of `transformers.MimiModel` work on every sample with dozens of channels: for half a minute of
CSM-1B's codec, that is 200 MB for each intermediate result. They are causal and look back a fifth of a second, so the
sound is cut into pieces that overlap by that much, and the pieces' results are put together. Everything behind them
works on 25 positions a second and sees all of these.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MimiModel

PIECE_SECONDS = 2


def encode(codec: MimiModel, samples: Tensor) -> Tensor:
    """Codes of a whole reference.

    Args:
        codec: Mimi, as the checkpoint holds it.
        samples: `[samples]` at the codec's rate.

    Returns:
        Codes `[frames, codebooks]`, as many frames as `CsmProcessor` leaves room for.
    """
    convolutions, transformer, downsample = _encoder_parts(codec)
    pieces = _pieces(convolutions, samples.view(1, 1, -1), PIECE_SECONDS * codec.config.sampling_rate)
    x = transformer(torch.cat(list(pieces), dim=-1).transpose(1, 2))[0]
    codes: Tensor = codec.quantizer.encode(downsample(x.transpose(1, 2))).transpose(0, 1)
    return codes[0].T


def _pieces(convolutions: nn.Module, samples: Tensor, least: int) -> Iterator[Tensor]:
    """What the convolutions make of `[1, 1, samples]`: `[1, dim, positions]` for each piece of at least so many."""
    hop, reach = _geometry(convolutions)
    length, overlap = -(-least // hop) * hop, -(-reach // hop) * hop
    for start in range(0, samples.shape[-1], length):
        begin = max(start - overlap, 0)
        yield convolutions(samples[..., begin : start + length])[..., (start - begin) // hop :]


def _geometry(convolutions: nn.Module) -> tuple[int, int]:
    """Samples that a position stands for, and samples before its own that it depends on, at most."""
    hop, reach = 1, 0
    for layer in convolutions.modules():
        if isinstance(layer, nn.Conv1d):
            reach += (layer.kernel_size[0] - 1) * layer.dilation[0] * hop
            hop *= layer.stride[0]
    return hop, reach


def _encoder_parts(codec: Any) -> tuple[Any, Any, Any]:
    """SEANet, transformer and downsampling; transformers 5.23 moved them below `codec.encoder`."""
    owner = codec.encoder if hasattr(codec.encoder, "encoder_seanet") else codec
    return getattr(owner, "encoder_seanet", codec.encoder), owner.encoder_transformer, owner.downsample
