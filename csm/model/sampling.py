"""Sampling on the device, for each row with its own temperature, top-k and random stream.

A code is drawn by the Gumbel-max trick: the argmax of `logits / temperature + noise` over the top k. The noise is a
pure function of seed, frame, codebook and code. So the draws of a row depend neither on other rows nor on when it
joined the batch, and there is no generator state to keep, copy or capture.

Sources: Gumbel, "Statistical theory of extreme values", 1954, for the trick; Salmon et al., "Parallel random numbers:
as easy as 1, 2, 3", 2011, for counter-based streams; Wellons' `lowbias32` for the mixing constants.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_WEYL = 0x9E3779B9

END_CODE = 0
"""First code of the all-zero frame that ends a turn."""

RECENT_FRAMES, MAX_REPEATS = 10, 1
"""How often a first code may occur in the last frames before it is drawn again without the top-k limit."""


class Rules(NamedTuple):
    """How each row of a batch draws its next frame.

    Attributes:
        temperature: float32 `[batch]`; 0 takes the likeliest code.
        top_k: int64 `[batch]`, at least 1.
        recent: int64 `[batch, RECENT_FRAMES]`, first codes of the last frames; -1 where there was none.
        may_end: bool `[batch]`, whether the first code may be `END_CODE`.
        avoid_repeats: bool `[batch]`, whether the first code is drawn repetition-aware.
    """

    temperature: Tensor
    top_k: Tensor
    recent: Tensor
    may_end: Tensor
    avoid_repeats: Tensor


def gumbel_noise(seed: Tensor, frame: Tensor, codebooks: int, codes: int) -> Tensor:
    """Return standard Gumbel noise for all draws of one frame.

    Args:
        seed: int64 `[batch]`, of which 63 bits are used.
        frame: int64 `[batch]`, index of the frame in its generation.
        codebooks: draws per frame.
        codes: outcomes of a draw.

    Returns:
        float32 `[batch, codebooks, codes]`.
    """
    row = _mix(_mix(_mix(seed & _MASK) ^ (seed >> 32) & _MASK) + frame * _WEYL)
    draw = torch.arange(codebooks, device=seed.device) * _WEYL
    key = _mix(row[:, None] ^ _mix(draw + 1))
    bits = _mix(key[:, :, None] + torch.arange(codes, device=seed.device) * _WEYL)
    # Adding a half keeps both logarithms finite. With it, float32 holds 23 bits exactly; one more would round up to 1.
    uniform = ((bits >> 9).float() + 0.5) * 2**-23
    return -torch.log(-torch.log(uniform))


def draw(logits: Tensor, noise: Tensor, rank: Tensor, max_top_k: Any) -> Tensor:
    """Draw one code per row.

    Args:
        logits: `[batch, codes]`.
        noise: Gumbel noise times the temperature, `[batch, codes]`. The logits are not divided by the temperature: the
            argmax is the same, and 0, which takes the likeliest code, needs no special case.
        rank: `[batch, 1]`, the row's top-k less 1.
        max_top_k: largest top-k in the batch: a number, or a tensor in a graph that takes any.

    Returns:
        int64 `[batch]`.
    """
    least = logits.topk(max_top_k, dim=-1).values.gather(1, rank)
    # The sum is float32 like the noise, whatever the type of the logits.
    return (logits + noise).masked_fill_(logits < least, -torch.inf).argmax(dim=-1)


def draw_first(
    logits: Tensor,
    noise: Tensor,
    spare_noise: Tensor,
    rank: Tensor,
    rules: Rules,
    max_top_k: Any,
    draw: Callable[..., Tensor] = draw,
) -> Tensor:
    """Draw the first code of a frame per row, which decides how the turn goes on.

    The first codebook carries what is said. A model that has lost its way repeats itself there, and the narrower the
    draw, the less it gets out of it. So a code that occurred more than `MAX_REPEATS` times in the last `RECENT_FRAMES`
    frames is drawn again from the whole distribution: it may come again, and so a vowel can still be held. Chen et
    al., "VALL-E 2", 2024, section 3.4.

    Args:
        logits: `[batch, codes]`.
        noise: see `draw`.
        spare_noise: for the second draw, likewise.
        rank: see `draw`.
        rules: of the rows.
        max_top_k: see `draw`.
        draw: `draw`, or the same on a device.

    Returns:
        int64 `[batch]`.
    """
    is_end = torch.arange(logits.shape[-1], device=logits.device) == END_CODE
    logits = logits.masked_fill(is_end & ~rules.may_end[:, None], -torch.inf)
    code = draw(logits, noise, rank, max_top_k)
    repeats = (rules.recent == code[:, None]).sum(dim=-1)
    again = (repeats > MAX_REPEATS) & (code != END_CODE) & rules.avoid_repeats
    return torch.where(again, (logits + spare_noise).argmax(dim=-1), code)


def _mix(x: Tensor) -> Tensor:
    """Map 32-bit words, held in int64, one to one, so that each input bit changes about half of the output bits."""
    x = x & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
