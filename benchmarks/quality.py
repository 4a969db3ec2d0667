"""`python -m benchmarks.quality`: measure what precision, caching, batching and streaming do to words and voices.

It clones the held-out voices of `tests/quality/data` with the server's synthesizer, several times with different seeds.
Whisper tiny.en counts wrong words, and Resemblyzer compares voices. A table is printed, with a row for each way to
generate the same clones. `python -m pip install -r requirements-quality.txt` installs the judges.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.endings import speak
from benchmarks.pairs import say
from csm.audio.encoders.pcm import from_pcm16
from csm.audio.waveform import Samples
from csm.model import hub
from csm.settings import Settings, load
from csm.speech.api import SAMPLE_RATE, Synthesizer, Utterance
from csm.speech.build import make_engine
from csm.speech.synthesizer import CsmSynthesizer
from recipes.demo_model import evaluate, judges, speech

SPEECH = Path(__file__).parents[1] / "tests" / "quality" / "data"
AT_ONCE = 4


@dataclass(frozen=True)
class Job:
    """One clone.

    Attributes:
        text: to say.
        reference: whose voice is cloned.
        stranger: another speaker's recording, to compare with.
        seed: of sampling.
    """

    text: str
    reference: speech.Sentence
    stranger: speech.Sentence
    seed: int


def jobs(folder: Path, seeds: int) -> list[Job]:
    """Return the clones to make: each held-out text in its speaker's voice, from another recording, with each seed."""
    trials = list(evaluate.trials(speech.read_index(folder), seed=0))
    return [Job(said.text, own, stranger, seed) for seed in range(seeds) for own, said, stranger in trials]


def clone(synthesizer: Synthesizer, job: Job, stream: bool = False) -> Samples:
    """Return the clone of a job, generated as for a request."""
    utterance = Utterance(
        job.text,
        reference=job.reference.path.read_bytes(),
        transcript=job.reference.text,
        seed=job.seed,
        stream=stream,
    )
    return from_pcm16(speak(synthesizer, utterance)[0])


def row(name: str, chosen: Sequence[Job], clones: Sequence[Samples], first: Sequence[Samples]) -> str:
    """Return a row of the table; the last column compares with the clones of the first row."""
    wrong, own, nearer = [], [], []
    for job, samples in zip(chosen, clones, strict=True):
        wrong.append(judges.heard_error_rate(job.text, samples, SAMPLE_RATE))
        voice, *others = (
            judges.voice_print(sound, SAMPLE_RATE)
            for sound in (samples, speech.load(job.reference), speech.load(job.stranger))
        )
        to_own, to_stranger = (float(voice @ other) for other in others)
        own.append(to_own)
        nearer.append(to_own > to_stranger)
    same = [len(a) == len(b) and np.abs(a - b).max() < 1e-4 for a, b in zip(clones, first, strict=True)]
    return f"| {name} | {np.mean(wrong):.1%} | {np.mean(own):.3f} | {np.mean(nearer):.0%} | {np.mean(same):.0%} |"


def measure(settings: Settings, chosen: Sequence[Job]) -> Iterator[str]:
    """Yield the rows of the table."""
    uncached = settings.model_copy(update={"precision": "float32", "voice_cache_mb": 0})
    with _open(uncached) as synthesizer:
        first = [clone(synthesizer, job) for job in chosen]
    yield row("float32, each voice encoded anew", chosen, first, first)
    with _open(settings.model_copy(update={"precision": "float32", "slots": AT_ONCE})) as synthesizer:
        for job in chosen:
            clone(synthesizer, job)  # so that all voices are in the cache
        yield row("float32, cached voice", chosen, [clone(synthesizer, job) for job in chosen], first)
        yield row("float32, streamed", chosen, [clone(synthesizer, job, stream=True) for job in chosen], first)
        with ThreadPoolExecutor(AT_ONCE) as clients:
            together = list(clients.map(lambda job: clone(synthesizer, job), chosen))
        yield row(f"float32, {AT_ONCE} at once", chosen, together, first)
    for precision in ("int8", "int4"):
        with _open(settings.model_copy(update={"precision": precision})) as synthesizer:
            yield row(precision, chosen, [clone(synthesizer, job) for job in chosen], first)


@contextmanager
def _open(settings: Settings) -> Iterator[CsmSynthesizer]:
    with closing(make_engine(settings, hub.fetch(settings))) as engine:
        yield CsmSynthesizer(settings, engine, {})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--model", default="demo", help="Hub repository, local folder, or `demo`")
    parser.add_argument("--seeds", type=int, default=4, help="number of times that each text is spoken")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder of held-out speech")
    args = parser.parse_args()
    logging.getLogger("csm").setLevel(logging.ERROR)
    judges.load()
    chosen = jobs(args.speech, args.seeds)
    say(f"{len(chosen)} clones for each row")
    print("| | wrong words | similarity | nearer to its own | same audio as the first |\n|---|---|---|---|---|")
    for line in measure(load(None, host="127.0.0.1", model=args.model, device="cpu"), chosen):
        print(line, flush=True)


if __name__ == "__main__":
    main()
