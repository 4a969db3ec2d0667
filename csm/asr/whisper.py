"""Recognize speech with Whisper (Radford et al. 2022), by faster-whisper, on the CPU."""

import os
from typing import Any

import numpy as np
import torch
import torchaudio.functional as audio

from csm.asr.check import check
from csm.audio.waveform import Waveform
from csm.errors import ModelUnavailable

SAMPLE_RATE = 16_000
MAX_NO_SPEECH = 0.5
"""Maximum probability that a segment has no speech. For noise, tones and music, Whisper returns common phrases ("Thank
you.") with .63 and more; recordings of speech were below .1, or their words were wrong."""
MIN_LOG_PROBABILITY = -0.65
"""Minimum mean over the tokens. Clear speech has -.2 to -.6. In noise, at -.7 and less, half of the words or more were
wrong."""
MAX_COMPRESSION = 2.4
"""Whisper's own limit for text that repeats itself."""
_THREADS = 4


class WhisperRecognizer:
    """See `csm.asr.api.Recognizer`.

    It runs on the CPU even if there is a GPU, for which CTranslate2 would need its own cuDNN. Ten seconds of speech
    take about one second.

    Args:
        model: a size (`base.en`), or a Hub repository or folder with a model in CTranslate2's format; downloaded if
            needed.

    Raises:
        ModelUnavailable: the package is missing or the model cannot be loaded; the message names the remedy.
    """

    def __init__(self, model: str) -> None:
        check(model)
        # Imports CTranslate2 and ONNX Runtime, so only if they are used.
        from faster_whisper import WhisperModel

        threads = min(_THREADS, os.cpu_count() or 1)
        try:
            self._model: Any = WhisperModel(
                os.path.expanduser(model), device="cpu", compute_type="int8", cpu_threads=threads
            )
        except Exception as error:  # from the Hub, the network, the disk or CTranslate2
            raise ModelUnavailable(
                f"CSM_TRANSCRIBER={model} cannot be loaded ({type(error).__name__}): check the name (base.en, "
                "small.en, owner/repository, or a folder), the network and the disk, or set CSM_TRANSCRIBER=none"
            ) from error

    def recognize(self, waveform: Waveform) -> str | None:
        """See `Recognizer.recognize`."""
        samples = torch.from_numpy(np.ascontiguousarray(waveform.samples, np.float32))
        segments, _ = self._model.transcribe(
            audio.resample(samples, waveform.sample_rate, SAMPLE_RATE).numpy(),
            # Whisper would retry at higher temperatures, which produces words that were never said.
            temperature=0.0,
            condition_on_previous_text=False,
            # Transcribe only what a voice detector takes for speech; Whisper makes up words for silence.
            vad_filter=True,
        )
        segments = list(segments)
        # The transcript must match the whole audio: one doubtful segment makes it useless, and so would leaving it out.
        if not all(map(_is_credible, segments)):
            return None
        return " ".join(" ".join(segment.text for segment in segments).split()) or None


def _is_credible(segment: Any) -> bool:
    return bool(
        segment.no_speech_prob <= MAX_NO_SPEECH
        and segment.avg_logprob >= MIN_LOG_PROBABILITY
        and segment.compression_ratio <= MAX_COMPRESSION
    )
