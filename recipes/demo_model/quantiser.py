"""Training for Mimi's residual vector quantiser, which `transformers` can only run.

Codebooks are moving averages of the vectors that choose them, and gradients pass straight through
(van den Oord et al. 2017, appendix A); unused codes are moved to where vectors are (Zeghidour et al. 2021).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel
from transformers.models.mimi.modeling_mimi import MimiEuclideanCodebook, MimiResidualVectorQuantizer

MEMORY = 8_000
"""A codebook is a moving average over about this many of the last vectors, whatever the size of a batch."""

DEAD = 0.1
"""A code chosen less often than this, where 1 is the average code, is moved."""


@dataclass(frozen=True)
class Quantised:
    """What the codebooks make of latents, with straight-through gradients.

    Attributes:
        semantic: `[batch, width, frames]`: the first codebook's part.
        acoustic: the other codebooks' part.
        commitment: how far the latents are from their codes.
    """

    semantic: Tensor
    acoustic: Tensor
    commitment: Tensor

    @property
    def heard(self) -> Tensor:
        """What the decoder gets."""
        return self.semantic + self.acoustic


def quantise(codec: MimiModel, latents: Tensor, rng: np.random.Generator, dropout: float) -> Quantised:
    """Quantise as Mimi does: a semantic codebook beside a stack of acoustic ones. Updates the codebooks.

    Args:
        codec: in training mode; in eval mode nothing is updated and all codebooks are used.
        latents: `[batch, width, frames]`.
        rng: draws of this step.
        dropout: chance that only the first few acoustic codebooks are heard.
    """
    parts = codec.quantizer
    levels = len(parts.acoustic_residual_vector_quantizer.layers)
    heard = int(rng.integers(1, levels + 1)) if codec.training and rng.random() < dropout else levels
    semantic, loss_one = _residual(parts.semantic_residual_vector_quantizer, latents, rng, levels, codec.training)
    acoustic, loss_two = _residual(parts.acoustic_residual_vector_quantizer, latents, rng, heard, codec.training)
    return Quantised(semantic, acoustic, loss_one + loss_two)


def bypass(codec: MimiModel, latents: Tensor) -> Tensor:
    """The latents as the decoder would get them from perfect codebooks."""
    stacks = (codec.quantizer.semantic_residual_vector_quantizer, codec.quantizer.acoustic_residual_vector_quantizer)
    return sum((stack.output_proj(stack.input_proj(latents)) for stack in stacks), torch.zeros_like(latents))


def _residual(
    stack: MimiResidualVectorQuantizer, latents: Tensor, rng: np.random.Generator, heard: int, training: bool
) -> tuple[Tensor, Tensor]:
    target = stack.input_proj(latents).transpose(1, 2).float()
    residual, total = target, torch.zeros_like(target)
    commitment = target.new_zeros(())
    for level, layer in enumerate(stack.layers):
        chosen = _look_up(layer.codebook, residual.detach(), rng, training)
        commitment = commitment + F.mse_loss(residual, chosen)
        if level < heard:
            total = total + chosen
        residual = residual - chosen
    straight_through = target + (total - target).detach()
    return stack.output_proj(straight_through.transpose(1, 2)), commitment / len(stack.layers)


@torch.no_grad()
def _look_up(codebook: MimiEuclideanCodebook, residual: Tensor, rng: np.random.Generator, training: bool) -> Tensor:
    """The nearest codes; when training, also move the codebook towards what chose it."""
    flat = residual.reshape(-1, residual.shape[-1])
    if training and not codebook.embed_sum.any():
        _move(codebook, torch.ones_like(codebook.cluster_usage, dtype=torch.bool), flat, rng)
    codes = codebook.embed_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]
    index = torch.cdist(flat[None], codes[None])[0].argmin(-1)
    if training:
        _update(codebook, flat, index, rng)
    return codes[index].view_as(residual)


def _update(codebook: MimiEuclideanCodebook, flat: Tensor, index: Tensor, rng: np.random.Generator) -> None:
    decay = math.exp(-len(flat) / MEMORY)
    # Whatever the batch, the average code has a usage of 1: that of saved codebooks, and of codes just moved.
    chosen = F.one_hot(index, codebook.codebook_size).to(flat) * (codebook.codebook_size / len(flat))
    codebook.cluster_usage.mul_(decay).add_(chosen.sum(0), alpha=1 - decay)
    codebook.embed_sum.mul_(decay).add_(chosen.T @ flat, alpha=1 - decay)
    dead = codebook.cluster_usage < DEAD
    if dead.any():
        _move(codebook, dead, flat, rng)


def _move(codebook: MimiEuclideanCodebook, which: Tensor, flat: Tensor, rng: np.random.Generator) -> None:
    """Put these codes onto vectors drawn from the batch."""
    drawn = rng.integers(0, len(flat), int(which.sum()))
    codebook.embed_sum[which] = flat[torch.from_numpy(drawn).to(flat.device)]
    codebook.cluster_usage[which] = 1.0
