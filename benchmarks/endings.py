"""`python -m benchmarks.endings`: measure how often generations end by themselves, with and without the rules.

It speaks 200 texts in the voice of `examples/voice.webm`: once as the server does, with all rules of
`csm.speech.endings`, and once with only a limit beside the model's own end. Both take turns with each text. It prints
the share of each finish reason.
"""

import argparse
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.pairs import say
from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.engine.api import Engine, Sampling
from csm.model import hub
from csm.settings import Settings, load
from csm.speech.api import Notes, Synthesizer, Utterance
from csm.speech.build import make_engine
from csm.speech.endings import SEVERITY
from csm.speech.synthesizer import CsmSynthesizer
from csm.speech.voice import Voice, conversation

EXAMPLES = Path(__file__).parents[1] / "examples"

OPENINGS = ("Yesterday", "In the end,", "By the time we got there,", "If you ask me,", "To be honest,")
SUBJECTS = ("the baker", "my neighbour's sister", "nobody in the room", "the captain of the small ship")
PREDICATES = (
    "had forgotten the blue suitcase",
    "was talking about the weather",
    "wanted to sell a clock",
    "could not find the key",
    "kept returning to a letter from Lisbon",
)
CLOSINGS = ("", " because the last train had already left and it was too far to walk home in the rain")


def texts() -> Iterator[str]:
    """Yield 200 different sentences of 8 to 37 words."""
    for opening, subject, predicate, end in itertools.product(OPENINGS, SUBJECTS, PREDICATES, CLOSINGS):
        yield f"{opening} {subject} {predicate}{end}."


def speak(synthesizer: Synthesizer, utterance: Utterance) -> tuple[bytes, Notes]:
    """Return the PCM of an utterance, generated as for a request, and what is known about it."""
    with (
        synthesizer.reserve() as reservation,
        closing(synthesizer.speak(utterance, reservation, lambda: False)) as speech,
    ):
        return b"".join(speech), speech.notes


def with_rules(synthesizer: Synthesizer, text: str, voice: bytes, transcript: str, seed: int) -> tuple[str, int]:
    """Speak a text as the server does; return the finish reason and the number of retries."""
    utterance = Utterance(text, reference=voice, transcript=transcript, seed=seed, stream=False)
    notes = speak(synthesizer, utterance)[1]
    return str(notes.finish_reason), notes.retries


def without_rules(engine: Engine, text: str, voice: Voice, seed: int, max_seconds: float) -> str:
    """Speak a text until the model ends or the limit is reached; return the finish reason."""
    sampling = Sampling(seed, avoid_repeats=False)
    frames = round(max_seconds * engine.info.frame_rate)
    with closing(engine.generate(conversation(voice, text), sampling, frames, lambda: False)) as chunks:
        for _ in chunks:
            pass
    return "length" if chunks.is_cut else "stop"


def shares(reasons: Iterable[str]) -> str:
    """Return the share of each finish reason as a row of a table."""
    counts = Counter(reasons)
    return " | ".join(f"{counts[reason] / max(1, counts.total()):.1%}" for reason in SEVERITY)


def measure(settings: Settings, chosen: Sequence[str], max_seconds: float) -> None:
    """Speak all texts both ways and print the table."""
    engine = make_engine(settings, hub.fetch(settings))
    reference, transcript = (EXAMPLES / "voice.webm").read_bytes(), (EXAMPLES / "voice.txt").read_text().strip()
    waveform = condition(decode(reference, max_seconds=60), max_seconds=settings.max_reference_seconds)
    voice, ruled, free = Voice(waveform, transcript), [], []
    with closing(CsmSynthesizer(settings, engine, {})) as synthesizer:
        for seed, text in enumerate(chosen):
            ruled.append(with_rules(synthesizer, text, reference, transcript, seed))
            free.append(without_rules(engine, text, voice, seed, max_seconds))
            say(f"{seed + 1} of {len(chosen)}: {ruled[-1][0]} with the rules, {free[-1]} without")
    print(f"\n{settings.model}, {engine.info.precision}, {len(chosen)} texts\n")
    print(f"| | {' | '.join(SEVERITY)} | generated again |\n|---|{'---|' * (len(SEVERITY) + 1)}")
    retries = sum(count for _, count in ruled)
    print(f"| with the rules | {shares(reason for reason, _ in ruled)} | {retries} |")
    print(f"| without, at most {max_seconds:g} s | {shares(free)} | |")


def main() -> None:
    """Measure with the settings of the environment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endings", description=__doc__)
    parser.add_argument("--model", default="demo", help="Hub repository, local folder, or `demo`")
    parser.add_argument("--texts", type=int, default=200, help="number of texts")
    parser.add_argument("--max-seconds", type=float, default=30.0, help="limit without the rules")
    args = parser.parse_args()
    logging.getLogger("csm").setLevel(logging.ERROR)
    chosen = [*itertools.islice(texts(), args.texts)]
    measure(load(None, host="127.0.0.1", model=args.model), chosen, args.max_seconds)


if __name__ == "__main__":
    main()
