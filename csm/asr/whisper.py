"""Whisper (Radford et al. 2022) by faster-whisper, on the CPU."""

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
"""Probability that nothing is said. Whisper answers noise, tones and music with phrases it saw often ("Thank you."), at
.63 and more; in recordings of speech it was below .1, or the words were wrong."""
MIN_LOG_PROBABILITY = -0.65
"""Mean over the tokens. Clear speech has -.2 to -.6. In noise, from -.7 down half of the words and more were wrong."""
MAX_COMPRESSION = 2.4
"""Whisper's own bound for text that repeats itself."""
_THREADS = 4


class WhisperRecognizer:
    """See `csm.asr.api.Recognizer`.

    It runs on the CPU even beside a GPU: CTranslate2 would need a cuDNN of its own, and ten seconds of speech take
    about one.

    Args:
        model: a size (`base.en`), a Hub repository or a folder, in CTranslate2's format. What is not there is
            downloaded.

    Raises:
        ModelUnavailable: the package or the model cannot be had; the message names the remedy.
    """

    def __init__(self, model: str) -> None:
        check(model)
        # Imports CTranslate2 and ONNX Runtime, for those who use them.
        from faster_whisper import WhisperModel

        threads = min(_THREADS, os.cpu_count() or 1)
        try:
            self._model: Any = WhisperModel(
                os.path.expanduser(model), device="cpu", compute_type="int8", cpu_threads=threads
            )
        except Exception as error:  # of the Hub, the network, the disk, CTranslate2
            raise ModelUnavailable(
                f"CSM_TRANSCRIBER={model} cannot be loaded ({type(error).__name__}): check the name (base.en, "
                "small.en, owner/repository, or a folder), the network and the disk, or set CSM_TRANSCRIBER=none"
            ) from error

    def recognize(self, waveform: Waveform) -> str | None:
        """See `Recognizer.recognize`."""
        samples = torch.from_numpy(np.ascontiguousarray(waveform.samples, np.float32))
        segments, _ = self._model.transcribe(
            audio.resample(samples, waveform.sample_rate, SAMPLE_RATE).numpy(),
            # Without draws at higher temperatures, which are where words come from that nobody said.
            temperature=0.0,
            condition_on_previous_text=False,
            # Only what a voice detector takes for speech; without it, silence is transcribed too.
            vad_filter=True,
        )
        segments = list(segments)
        # One doubtful segment spoils the transcript, and so would leaving it out.
        if not all(map(_is_credible, segments)):
            return None
        return " ".join(" ".join(segment.text for segment in segments).split()) or None


def _is_credible(segment: Any) -> bool:
    return bool(
        segment.no_speech_prob <= MAX_NO_SPEECH
        and segment.avg_logprob >= MIN_LOG_PROBABILITY
        and segment.compression_ratio <= MAX_COMPRESSION
    )
