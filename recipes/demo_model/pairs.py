"""First codes that are phonemes: one code for each frequent pair of phonemes, of 40 ms each, in a codec frame.

The text alone tells what such a code is; only its timing is free. `pairs.txt` lists the pairs, the most frequent first,
after those of a phoneme with itself. Code 0 belongs to the all-zero frame, which ends a turn, so no pair has it.
"""

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import phonemes
from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT

LIST = Path(__file__).with_name("pairs.txt")
SEED = 15
FAR = 3.0
"""All components of the vector of code 0, so that no frame is encoded as it."""

LABEL = SAMPLES_PER_FRAME // phonemes.LABELS_PER_FRAME
"""Samples of a label: 40 ms."""

AHEAD = LABEL
"""Samples by which the phonemes of a code are ahead of the audio of its frame: 40 ms. The decoder is causal, and a
phoneme sounds different before another one."""

TOLERANCE = 0.02
"""Greatest difference of a saved vector, in float16, from the exact one."""


@functools.cache
def pairs() -> tuple[tuple[int, int], ...]:
    """Return the classes of both phonemes for each code from 1."""
    symbols = "_" + phonemes.SOUNDS
    words = LIST.read_text(encoding="utf-8").split()
    return tuple((symbols.index(first), symbols.index(second)) for first, second in words)


@functools.cache
def table(codes: int) -> Tensor:
    """Return `[CLASSES, CLASSES]`: the code of each pair, if there are only the first `codes` of them.

    A pair without a code gets that of its rarer phoneme alone, which tells more about the word.

    Raises:
        ValueError: there are too few codes for each phoneme to have one.
    """
    if codes <= phonemes.CLASSES:
        raise ValueError(f"{codes} codes cannot tell {phonemes.CLASSES} phonemes apart")
    of_pair = torch.full((phonemes.CLASSES, phonemes.CLASSES), -1)
    for code, (first, second) in enumerate(pairs()[: codes - 1], 1):
        of_pair[first, second] = code
    alone = of_pair.diagonal()  # the more frequent a phoneme, the lower its code
    return torch.where(of_pair < 0, torch.maximum(alone[:, None], alone[None]), of_pair)


def codes_of(labels: Tensor, codes: int) -> Tensor:
    """Return the code of each frame, or `UNKNOWN`, for labels `[..., LABELS_PER_FRAME]` from `phonemes.labels`."""
    known = (labels != phonemes.UNKNOWN).all(-1)
    first, second = labels.clamp(min=0).unbind(-1)
    return torch.where(known, table(codes).to(labels.device)[first, second], phonemes.UNKNOWN)


def first_codes(line: phonemes.Labels, frames: int, codes: int, speed: float = 1.0) -> Tensor:
    """Return `[frames]`: the codes of an utterance, `AHEAD` of its audio; `UNKNOWN` if its timeline is not known.

    Args:
        line: its timeline, from `phonemes.timeline`.
        frames: number of codes to return.
        codes: number of codes that there are.
        speed: at which the utterance is played.
    """
    return codes_of(torch.from_numpy(labels(line, frames, speed)), codes)


def labels(line: phonemes.Labels, frames: int, speed: float = 1.0) -> phonemes.Labels:
    """Return `[frames, LABELS_PER_FRAME]`: the phonemes of `first_codes`."""
    if not len(line):
        return phonemes.labels(line, 0, speed, frames)
    edges, owners = _owners(line, frames * phonemes.LABELS_PER_FRAME, speed)
    said = np.append(line[edges[:-1]], phonemes.SILENCE)
    return said[owners].reshape(frames, phonemes.LABELS_PER_FRAME)


def on_the_grid(line: phonemes.Labels, frames: int) -> NDArray[np.float64]:
    """Return `[labels + 1]`: the samples of an utterance that are said at the beginning of each label, and at the end.

    A phoneme is longer or shorter than its labels by up to half of one, and no code tells by how much. Audio whose time
    is changed by this has every phoneme exactly where its labels are.
    """
    edges, owners = _owners(line, frames * phonemes.LABELS_PER_FRAME, 1.0)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    counts = np.diff(np.append(starts, len(owners)))
    inside = np.arange(len(owners)) - np.repeat(starts, counts)
    # After its end, an utterance goes on in silence, as long as there are labels.
    ends = np.append(edges, edges[-1] + len(owners) * LABEL / UNIT) * UNIT
    lengths = np.append(np.diff(edges) * UNIT, LABEL * np.repeat(counts, counts)[-1])
    said = ends[owners] + inside / np.repeat(counts, counts) * lengths[owners]
    return np.append(said, ends[owners[-1]] + lengths[owners[-1]])


def _owners(line: phonemes.Labels, count: int, speed: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each phoneme begins in `UNIT`s, with the end, and `[count]`: the number of each label's phoneme.

    A phoneme so short that no label has it, one in ten at a normal pace, gets the label before or after it, whichever
    is of the phoneme that has more of them. Labels after the end have the number of phonemes.
    """
    edges = np.array([0, *(np.flatnonzero(np.diff(line)) + 1), len(line)])
    said = line[edges[:-1]]
    places = np.ceil((edges * UNIT / speed - AHEAD) / LABEL - 0.5).astype(int).clip(0, count)
    firsts, counts = places[:-1], np.diff(places)
    owners = np.repeat(np.arange(len(edges)), np.append(counts, count - places[-1]))
    for which in np.flatnonzero((counts == 0) & (said != phonemes.SILENCE)):
        neighbours = [(place, other) for place, other in ((-1, which - 1), (0, which + 1)) if 0 <= other < len(said)]
        place, other = max(neighbours, key=lambda one: counts[one[1]])
        if counts[other] > 1:
            owners[firsts[which] + place] = which
            counts[other], counts[which] = counts[other] - 1, 1
    return edges, owners


def vectors(codes: int, width: int) -> Tensor:
    """Return `[codes, width]`: random vectors for the first and the second phoneme of each pair, side by side."""
    generator = torch.Generator().manual_seed(SEED)
    halves = torch.randn(phonemes.LABELS_PER_FRAME, phonemes.CLASSES, width // 2, generator=generator)
    firsts, seconds = torch.tensor(pairs()[: codes - 1]).unbind(1)
    return F.pad(torch.cat([halves[0, firsts], halves[1, seconds]], 1), (0, 0, 1, 0), value=FAR)


@torch.no_grad()
def install(codec: MimiModel) -> None:
    """Replace the codec's first codebook by the vectors of pairs."""
    codebook = codec.quantizer.semantic_residual_vector_quantizer.layers[0].codebook
    codebook.embed_sum.copy_(vectors(*codebook.embed_sum.shape))
    codebook.cluster_usage.fill_(1.0)
    codebook._embed = None


def installed(codec: MimiModel) -> bool:
    """Return whether the codec's first codes are pairs of phonemes."""
    codebook = codec.quantizer.semantic_residual_vector_quantizer.layers[0].codebook
    held = codebook.embed_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]
    if len(held) <= phonemes.CLASSES:
        return False
    return bool((held.cpu().float() - vectors(*held.shape)).abs().max() < TOLERANCE)
