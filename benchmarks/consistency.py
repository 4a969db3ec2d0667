"""`python -m benchmarks.consistency`: measure whether a voice stays the same over a long text.

It speaks a text of at least 20 segments in one voice, as the server does: each segment continues those before it. For
each segment, it prints how similar the voice is to the reference audio, the loudness, the pace, and the wrong words;
then the averages of each quarter of the text. If the voice drifts, they differ.
`python -m pip install -r requirements-quality.txt` installs the judges.
"""

import argparse
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import loudness

from benchmarks.endings import EXAMPLES, texts
from benchmarks.pairs import say
from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.audio.waveform import Samples, Waveform
from csm.engine.api import Engine
from csm.engine.prefix_cache import ConversationPrefix
from csm.model import hub
from csm.model.conversation import Turn
from csm.settings import Settings, load
from csm.speech.api import SAMPLE_RATE, Delivery
from csm.speech.build import make_engine
from csm.speech.frontend import Script, TextFrontend
from csm.speech.history import History
from csm.speech.narration import Narration
from csm.speech.synthesizer import history_seconds
from csm.speech.voice import Voice, reference_turn
from recipes.demo_model import judges

SEGMENTS = 20
QUARTERS = 4


@dataclass(frozen=True)
class Measured:
    """A segment: similarity to the reference, loudness in LUFS, words per second, and word error rate."""

    similarity: float
    lufs: float
    words_per_second: float
    wrong: float

    @classmethod
    def of(cls, text: str, samples: Samples, reference: Samples) -> "Measured":
        """Measure the audio of a segment."""
        sounding = np.trim_zeros(samples)
        return cls(
            judges.similarity(samples, reference, SAMPLE_RATE),
            float(loudness(torch.from_numpy(samples)[None], SAMPLE_RATE)),
            len(judges.words(text)) / (len(sounding) / SAMPLE_RATE),
            judges.heard_error_rate(text, samples, SAMPLE_RATE),
        )

    def cells(self) -> str:
        """Return the cells of the table."""
        return f"{self.similarity:.3f} | {self.lufs:.1f} | {self.words_per_second:.2f} | {self.wrong:.0%} |"


def long_text(sentences: int) -> str:
    """Return a text of so many sentences, at most 200, none twice and short ones among long ones."""
    every = list(texts())
    return " ".join(every[index * 7 % len(every)] for index in range(sentences))


def segments(engine: Engine, settings: Settings, script: Script, voice: Turn, seed: int) -> Iterator[Samples]:
    """Yield the audio of each segment; none if the model said nothing."""
    delivery = Delivery(seed=seed, stream=False)
    narration = Narration(
        engine,
        History([voice], history_seconds(settings)),
        delivery,
        settings.max_audio_seconds,
        lambda: False,
        ConversationPrefix(),
    )
    for segment in script.segments:
        spoken = narration.speak(replace(script, segments=(replace(segment, pause=0.0),)))
        yield np.concatenate([np.zeros(0, np.float32), *spoken])  # a segment without sound is left out


def reference_of(engine: Engine, recording: Path, transcript: str, seconds: float) -> tuple[Turn, Waveform]:
    """Return the turn of a recording, and the recording as the model hears it."""
    waveform = condition(decode(recording.read_bytes(), max_seconds=60), max_seconds=seconds)
    turn = reference_turn(Voice(waveform, transcript), "0")
    return replace(turn, codes=engine.encode(turn, lambda: False)), waveform


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description=__doc__)
    parser.add_argument("--model", default="demo", help="Hub repository, local folder, or `demo`")
    parser.add_argument("--audio", type=Path, default=EXAMPLES / "voice.webm", help="reference audio")
    parser.add_argument("--transcript", default=(EXAMPLES / "voice.txt").read_text().strip(), help="its words")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("csm").setLevel(logging.ERROR)
    judges.load()
    settings = load(None, host="127.0.0.1", model=args.model)
    script = TextFrontend(settings).prepare(long_text(4 * SEGMENTS))
    script = replace(script, segments=script.segments[:SEGMENTS])
    rows: list[Measured] = []
    print("| segment | similarity | LUFS | words a second | wrong words |\n|---|---|---|---|---|")
    with closing(make_engine(settings, hub.fetch(settings))) as engine:
        turn, waveform = reference_of(engine, args.audio, args.transcript, settings.max_reference_seconds)
        for index, samples in enumerate(segments(engine, settings, script, turn, args.seed)):
            if not samples.any():
                print(f"| {index + 1} | no sound | | | |", flush=True)
                continue
            rows.append(Measured.of(script.segments[index].text, samples, waveform.samples))
            print(f"| {index + 1} | {rows[-1].cells()}", flush=True)
            say(f"{index + 1} of {len(script.segments)}")
    for number, quarter in enumerate(np.array_split(np.array([astuple(one) for one in rows]), QUARTERS), 1):
        print(f"| quarter {number} | {Measured(*quarter.mean(0)).cells()}")


if __name__ == "__main__":
    main()
