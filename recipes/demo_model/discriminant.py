"""What tells speakers apart: a linear discriminant analysis (Fisher 1936) of what a speaker encoder hears.

Part of what it hears is not the voice. This weighs what differs between speakers against what differs between the
sentences of one speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 64
"""Number of directions to keep, at most."""

SHRINKAGE = 0.1
"""Share of a multiple of the identity in the covariance within speakers, which has more entries than there are data."""


@dataclass(frozen=True)
class Discriminant:
    """A linear map of features to a space in which the utterances of one speaker are close to each other.

    Attributes:
        mean: `[features]`.
        scale: `[features]`.
        directions: `[features, width]`, the most telling ones last.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return `[utterances, width]` for `[utterances, features]`."""
        return (((features - self.mean) / self.scale) @ self.directions).float()


def fit(features: Tensor, speakers: Sequence[int] | Tensor, width: int = WIDTH) -> Discriminant:
    """Return the directions in which speakers differ the most, relative to their own sentences.

    They are scaled so that the places of the speakers have a variance of 1 on average.

    Args:
        features: `[utterances, features]`.
        speakers: `[utterances]`: number of the speaker of each.
        width: number of directions; less if there are fewer features.
    """
    features, (_, members) = features.double(), torch.as_tensor(speakers).unique(return_inverse=True)
    mean, scale = features.mean(0), features.std(0) + 1e-6
    scaled = (features - mean) / scale
    centres = means_by(scaled, members)
    apart = scaled - centres[members]
    within = apart.T @ apart / len(apart)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * within.diagonal().mean() * torch.eye(len(within)).double()
    whitening = torch.linalg.inv(torch.linalg.cholesky(within))
    between, rotation = torch.linalg.eigh(torch.cov((centres @ whitening.T).T))
    directions = whitening.T @ rotation[:, -width:]
    return Discriminant(mean, scale, directions / between[-width:].mean().sqrt())


def means_by(rows: Tensor, members: Tensor) -> Tensor:
    """Return `[groups, width]`: the mean of the `rows` of each group; `members` has the group of each, from 0 on."""
    totals = torch.zeros(int(members.max()) + 1, rows.shape[1], dtype=rows.dtype).index_add(0, members, rows)
    return totals / members.bincount()[:, None]
