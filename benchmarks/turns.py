"""Measure how much sooner the next segment or turn begins if the keys and values before it are kept.

    python -m benchmarks.turns --precision float32

Random weights at CSM's full size. Each line is the mean of several turns, with and without the cache alternately.
"""

import argparse
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.full_size import full_size_config, random_checkpoint
from benchmarks.streams import TEXT, voice
from csm import settings
from csm.engine.api import EngineInfo, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import place
from csm.engine.prefix_cache import ConversationPrefix
from csm.model.conversation import Conversation, Turn
from csm.speech.build import make_runtime

FRAMES = 4
"""Frames that each turn generates: enough for the first chunk and for the keys and values to be kept."""


@dataclass
class Measured:
    """Sums over turns.

    Attributes:
        positions: that were prefilled.
        seconds: to the first chunk.
    """

    positions: int = 0
    seconds: float = 0.0


class CountedPrefill:
    """A runtime that counts the positions it prefills."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self.prefilled = runtime, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def prefill(self, x: torch.Tensor, start: int) -> None:
        """Count, then prefill."""
        self.prefilled += len(x)
        self._runtime.prefill(x, start)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=3, help="measured turns of each kind")
    args = parser.parse_args()
    chosen = settings.load(None, precision=args.precision, device=args.device, slots=1)
    checkpoint, placement = random_checkpoint(full_size_config()), place(chosen)
    runtime = CountedPrefill(make_runtime(chosen, checkpoint, placement))
    codec = checkpoint.config.codec_config
    info = EngineInfo("csm", str(placement.device), args.precision, 1, codec.sampling_rate, codec.frame_rate)
    print("| said before | positions without | with | first audio without | with |")
    print("|---|---|---|---|---|")
    with closing(CsmEngine(runtime, info, checkpoint.tokenizer, 10**9, 3600)) as engine:
        for seconds in (16, 32, 48):
            without, kept = compare(engine, runtime, seconds, args.turns)
            row = (f"{without.positions / args.turns:.0f}", f"{kept.positions / args.turns:.0f}")
            row += (f"{without.seconds / args.turns:.2f} s", f"{kept.seconds / args.turns:.2f} s")
            print(f"| {seconds} s | {' | '.join(row)} |", flush=True)


def compare(engine: CsmEngine, runtime: CountedPrefill, seconds: int, turns: int) -> tuple[Measured, Measured]:
    """Measure turns behind `seconds` of earlier ones, in segments of 16 s, without and with the cache."""
    rng = np.random.default_rng(seconds)
    reference = voice(0, 10.0, engine.info.sample_rate)
    context = Turn("0", reference.transcript, reference.waveform)
    frames = round(16 * engine.info.frame_rate)
    said = [
        Turn("0", TEXT, reference.waveform, rng.integers(0, 2048, (frames, runtime.codebooks)))
        for _ in range(seconds // 16)
    ]
    cache, measured = ConversationPrefix(), (Measured(), Measured())
    # The first turn is not measured: it fills the cache of the conversation, and that of the voice.
    for number in range(-1, turns):
        for result, used in zip(measured, (None, cache), strict=True):
            runtime.prefilled, target = 0, Turn("0", f"{number} {TEXT}")
            seconds_taken = generate(engine, Conversation((context, *said, target), len(said)), used)
            if number >= 0:
                result.positions += runtime.prefilled
                result.seconds += seconds_taken
    return measured


def generate(engine: CsmEngine, conversation: Conversation, cache: ConversationPrefix | None) -> float:
    """Generate a turn; return the seconds to its first chunk."""
    began = perf_counter()
    chunks = engine.generate(conversation, Sampling(0, min_frames=FRAMES), FRAMES, lambda: False, cache=cache)
    next(chunks)
    taken = perf_counter() - began
    for _ in chunks:
        pass
    return taken


if __name__ == "__main__":
    main()
