"""Train Mimi's residual vector quantiser, which `transformers` can only run.

Codebooks are moving averages of the vectors assigned to them, with straight-through gradients (van den Oord et al.
2017, appendix A). Unused codes are replaced by vectors of the batch (Zeghidour et al. 2021).

Random numbers are drawn with torch's global generators on the device of the latents, so that a GPU never waits.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel
from transformers.models.mimi.modeling_mimi import MimiEuclideanCodebook, MimiResidualVectorQuantizer

MEMORY = 8_000
"""Number of vectors over which a codebook is averaged, whatever the batch size."""

DEAD = 0.1
"""Usage, relative to the average code, below which a code is replaced."""


@dataclass(frozen=True)
class Quantised:
    """Quantised latents, with straight-through gradients.

    Attributes:
        semantic: `[batch, width, frames]`: the part of the first codebook.
        acoustic: the part of the other codebooks.
        commitment: loss: mean squared distance of the latents from their codes.
    """

    semantic: Tensor
    acoustic: Tensor
    commitment: Tensor

    @property
    def heard(self) -> Tensor:
        """The input of the decoder."""
        return self.semantic + self.acoustic


def quantise(codec: MimiModel, latents: Tensor, dropout: float) -> Quantised:
    """Quantise as Mimi does, with a semantic codebook and a stack of acoustic ones, and update the codebooks.

    Args:
        codec: in training mode; in eval mode, codebooks are not updated and all are used.
        latents: `[batch, width, frames]`.
        dropout: probability that only the first few acoustic codebooks are used.
    """
    parts, device = codec.quantizer, latents.device
    levels = len(parts.acoustic_residual_vector_quantizer.layers)
    heard = torch.full((), levels, device=device)
    if codec.training:
        few = torch.rand((), device=device) < dropout
        heard = torch.where(few, torch.randint(1, levels + 1, (), device=device), heard)
    semantic, loss_one = _residual(parts.semantic_residual_vector_quantizer, latents, heard, codec.training)
    acoustic, loss_two = _residual(parts.acoustic_residual_vector_quantizer, latents, heard, codec.training)
    return Quantised(semantic, acoustic, loss_one + loss_two)


def bypass(codec: MimiModel, latents: Tensor) -> Tensor:
    """Return the input of the decoder without quantisation."""
    stacks = (codec.quantizer.semantic_residual_vector_quantizer, codec.quantizer.acoustic_residual_vector_quantizer)
    return sum((stack.output_proj(stack.input_proj(latents)) for stack in stacks), torch.zeros_like(latents))


def _residual(
    stack: MimiResidualVectorQuantizer, latents: Tensor, heard: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """Return the sum of the codes of the first `heard` levels, and the commitment loss of all levels."""
    target = stack.input_proj(latents).transpose(1, 2).float()
    residual, total = target, torch.zeros_like(target)
    commitment = target.new_zeros(())
    for level, layer in enumerate(stack.layers):
        chosen = look_up(layer.codebook, residual.detach(), training)
        commitment = commitment + F.mse_loss(residual, chosen)
        total = total + chosen * (heard > level)
        residual = residual - chosen
    straight_through = target + (total - target).detach()
    return stack.output_proj(straight_through.transpose(1, 2)), commitment / len(stack.layers)


@torch.no_grad()
def look_up(codebook: MimiEuclideanCodebook, residual: Tensor, training: bool) -> Tensor:
    """Return the nearest codes; in training, also update the codebook."""
    flat = residual.reshape(-1, residual.shape[-1])
    if training:
        _move(codebook, (codebook.embed_sum == 0).all().expand(codebook.codebook_size), flat)  # a new codebook
    codes = codebook.embed_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]
    # The squared distance without the square of the vector, which is the same for all codes.
    index = torch.addmm(codes.square().sum(1), flat, codes.T, alpha=-2).argmin(1)
    if training:
        _update(codebook, flat, index)
    return codes[index].view_as(residual)


def _update(codebook: MimiEuclideanCodebook, flat: Tensor, index: Tensor) -> None:
    decay = math.exp(-len(flat) / MEMORY)
    # Scaled so that the average usage is 1 for any batch size, as in saved codebooks and for replaced codes.
    share = (1 - decay) * codebook.codebook_size / len(flat)
    codebook.cluster_usage.mul_(decay).index_add_(0, index, torch.full_like(flat[:, 0], share))
    codebook.embed_sum.mul_(decay).index_add_(0, index, flat * share)
    _move(codebook, codebook.cluster_usage < DEAD, flat)


def _move(codebook: MimiEuclideanCodebook, which: Tensor, flat: Tensor) -> None:
    """Replace the codes for which `which`, `[codes]`, is true by random vectors of the batch."""
    drawn = flat[torch.randint(len(flat), (codebook.codebook_size,), device=flat.device)]
    codebook.embed_sum.copy_(torch.where(which[:, None], drawn, codebook.embed_sum))
    codebook.cluster_usage.masked_fill_(which, 1.0)
