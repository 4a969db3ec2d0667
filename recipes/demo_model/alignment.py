"""Align the letters of a text with frames, and guide attention to the letter that is spoken."""

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
"""Level, relative to the peak, below which the beginning and the end of an utterance are silent."""

REACH = 2
"""Number of letters on either side of the spoken one to which attention may also go."""

HEAD = 0
"""Index of the guided attention head in each guided layer."""


def places(sentence: Sentence, samples: NDArray[np.float32], speed: float = 1.0) -> Places:
    """Return `[frames]`: the index of the letter that is spoken in the middle of each codec frame.

    Accurate to the word if durations are known; otherwise all letters are assumed to take the same time.

    Args:
        sentence: what is said; its durations are those at speed 1.
        samples: the audio, played at `speed`.
        speed: see `recordings.play`.
    """
    frames = -(-len(samples) // SAMPLES_PER_FRAME)
    middles = (np.arange(frames) + 0.5) * SAMPLES_PER_FRAME
    times, letters = _by_words(sentence, speed) or _by_loudness(sentence, samples)
    return np.minimum(np.interp(middles, times, letters), len(sentence.text) - 1).astype(np.int16)


def timed(sentence: Sentence) -> bool:
    """Return whether `places` is accurate to the word."""
    return _by_words(sentence, 1.0) is not None


class Guide:
    """Guide one attention head in every layer of the backbone except the first, which has too little context."""

    def __init__(self, model: CsmForConditionalGeneration) -> None:
        self._seen: list[Tensor] = []
        model.set_attn_implementation("eager")  # the other implementations do not return attention weights
        for layer in model.backbone_model.layers[1:]:
            layer.self_attn.register_forward_hook(self._watch)

    def loss(self, wanted: Tensor) -> Tensor:
        """Return the loss of the last forward pass: minus the log of the attention near the wanted positions.

        Args:
            wanted: `[batch, positions]`: where to attend to; negative for anywhere.
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
    """Return the times at which words begin and end, in samples, and the letters there; None if they are not known."""
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
