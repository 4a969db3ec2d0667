"""Takes: attempts at generating a segment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from csm.audio.waveform import Samples, Waveform
from csm.errors import GenerationFailed
from csm.model.conversation import Turn
from csm.speech.endings import SEVERITY, FinishReason, says_all

FADE_SECONDS = 0.005
"""Length of the fades at both ends of a take: the codec starts afresh with each take, which would cause a click."""


@dataclass
class Take:
    """One attempt at generating a segment.

    Attributes:
        target: the turn that is generated.
        reason: how the take ended.
        spoken_seconds: duration without silent frames.
        codes: `[frames, codebooks]` of each chunk.
        samples: `[samples]` of each chunk, as far as they are kept.
        error: why the engine could not generate it; it then has no samples.
    """

    target: Turn
    reason: FinishReason = "stop"
    spoken_seconds: float = 0.0
    codes: list[NDArray[np.int64]] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    error: GenerationFailed | None = None

    @property
    def is_good(self) -> bool:
        """Whether the take ended by itself, after all words."""
        return self.error is None and self.reason == "stop" and says_all(self.target.text, self.spoken_seconds)

    @property
    def finish_reason(self) -> FinishReason:
        """What clients are told: a take that stopped before it can have said everything has fallen silent."""
        return self.reason if self.reason != "stop" or self.is_good else "silence"

    @property
    def quality(self) -> tuple[bool, int, float]:
        """A key for comparing takes; the larger, the better. A take without sound is the worst."""
        return bool(self.samples), -SEVERITY[self.reason], min(self.spoken_seconds, len(self.target.text) / 15)

    def keep(self, samples: Samples) -> Iterator[Samples]:
        """Add samples and yield them, unless there are none."""
        if len(samples):
            self.samples.append(samples)
            yield samples

    def as_turn(self, sample_rate: int) -> Turn:
        """Return the take as a turn in the context of the next segment."""
        audio = Waveform(np.concatenate(self.samples), sample_rate)
        return replace(self.target, audio=audio, codes=np.concatenate(self.codes))


def join(target: Turn, takes: Sequence[Take]) -> Take:
    """Join the takes of the parts of a segment."""
    whole = Take(target)
    for take in takes:
        whole.codes += take.codes
        whole.samples += take.samples
        whole.spoken_seconds += take.spoken_seconds
        whole.reason = max(whole.reason, take.reason, key=SEVERITY.__getitem__)
    return whole


class Fade:
    """Fade a stream in at its beginning and out at its end, by holding back the last samples.

    Args:
        length: of each fade, in samples.
    """

    def __init__(self, length: int) -> None:
        self._ramp = np.linspace(0, 1, length, dtype=np.float32)
        self._held = np.zeros(0, np.float32)
        self._begun = False

    def pass_on(self, samples: Samples) -> Samples:
        """Take the next samples; return all but the last ones, which may have to be faded out."""
        if not len(samples):
            return samples
        if not self._begun:
            self._begun = True
            samples = samples.copy()
            head = samples[: len(self._ramp)]
            head *= self._ramp[: len(head)]
        samples = np.concatenate([self._held, samples])
        split_at = max(0, len(samples) - len(self._ramp))
        self._held = samples[split_at:]
        return samples[:split_at]

    def end(self, samples: Samples) -> Samples:
        """Take the last samples; return all that were held back, faded out."""
        tail = np.concatenate([self._held, samples])
        self._held = tail[:0]
        end = tail[-len(self._ramp) :]
        end *= self._ramp[::-1][len(self._ramp) - len(end) :]
        return tail
