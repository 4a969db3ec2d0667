"""Reference audio: a recorded voice, and synthetic speech of any length."""

import io

import numpy as np
import soundfile

from tests.paths import ROOT

VOICE = ROOT / "examples" / "voice.webm"
TRANSCRIPT = VOICE.with_suffix(".txt").read_text().strip()
"""A recorded voice of a few seconds, as a browser sends it; its words are in `voice.txt` beside it."""


def synthetic_speech(seconds: float = 2.0, seed: int = 0) -> bytes:
    """Return a WAV that passes for speech: bursts of noise with pauses, 24 kHz.

    Args:
        seconds: length.
        seed: each seed is another voice.
    """
    time = np.arange(int(seconds * 24_000)) / 24_000
    bursts = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) ** 2
    noise = np.random.default_rng(seed).standard_normal(len(time))
    file = io.BytesIO()
    soundfile.write(file, (0.2 * bursts * noise).clip(-1, 1), 24_000, format="WAV")
    return file.getvalue()
