"""Which letter of a text is spoken in which frame, and the loss that makes attention look there."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CsmForConditionalGeneration

from recipes.demo_model.architecture import SAMPLES_PER_FRAME
from recipes.demo_model.kokoro import UNIT
from recipes.demo_model.speech import Sentence

Places = NDArray[np.int16]

QUIET = 0.02
"""Samples below this share of the loudest are silence around an utterance."""

REACH = 2
"""Letters to either side of the spoken one that may be looked at as well."""

HEAD = 0
"""The head of a guided layer that is guided."""


def places(sentence: Sentence, samples: NDArray[np.float32], speed: float = 1.0) -> Places:
    """`[frames]`: the letter of the sentence that is spoken in the middle of each codec frame.

    Exact to the word where durations are known, else as if all letters took the same time.

    Args:
        sentence: what is said; its durations are those at its own speed.
        samples: the sound, played at `speed`.
        speed: see `recordings.play`.
    """
    frames = -(-len(samples) // SAMPLES_PER_FRAME)
    middles = (np.arange(frames) + 0.5) * SAMPLES_PER_FRAME
    times, letters = _by_words(sentence, speed) or _by_loudness(sentence, samples)
    return np.minimum(np.interp(middles, times, letters), len(sentence.text) - 1).astype(np.int16)


def timed(sentence: Sentence) -> bool:
    """Whether `places` are exact to the word."""
    return _by_words(sentence, 1.0) is not None


class Guide:
    """Watches one head of every layer of the backbone but the first, which knows too little to tell where to look."""

    def __init__(self, model: CsmForConditionalGeneration) -> None:
        self._seen: list[Tensor] = []
        model.set_attn_implementation("eager")  # the others do not tell their weights
        for layer in model.backbone_model.layers[1:]:
            layer.self_attn.register_forward_hook(self._watch)

    def loss(self, wanted: Tensor) -> Tensor:
        """Of the last forward pass: minus the log of the attention that falls near the wanted positions.

        Args:
            wanted: `[batch, positions]`, negative where nothing is wanted.
        """
        keys = torch.arange(wanted.shape[1], device=wanted.device)
        near = (keys - wanted[..., None]).abs() <= REACH
        known = wanted >= 0
        far = [-(weights.float() * near).sum(-1).clamp(min=1e-4).log() * known for weights in self._seen]
        self._seen.clear()
        return torch.stack(far).mean(0).sum() / known.sum().clamp(min=1)

    def _watch(self, _module: nn.Module, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        self._seen.append(outputs[1][:, HEAD])


def _by_words(sentence: Sentence, speed: float) -> tuple[list[float], list[int]] | None:
    """The times at which words begin and end, and their letters; None where they cannot be told."""
    said, written = sentence.phonemes.split(" "), sentence.text.split(" ")
    if not sentence.durations or len(said) != len(written):
        return None
    ends = np.cumsum(sentence.durations) * UNIT / speed
    times, letters, sound, letter = [], [], 0, 0
    for phonemes, word in zip(said, written, strict=True):
        times += [float(ends[sound]), float(ends[sound + len(phonemes)])]
        letters += [letter, letter + len(word)]
        sound, letter = sound + len(phonemes) + 1, letter + len(word) + 1
    return times, letters


def _by_loudness(sentence: Sentence, samples: NDArray[np.float32]) -> tuple[list[float], list[int]]:
    loud = np.flatnonzero(np.abs(samples) > QUIET * np.abs(samples).max())
    first, last = (loud[0], loud[-1]) if len(loud) else (0, len(samples))
    return [float(first), float(last)], [0, len(sentence.text)]
