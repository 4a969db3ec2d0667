"""Decide when a segment ends, and whether it ended well.

CSM ends a turn with an all-zero frame, but not reliably: it may fall silent, repeat itself or never end, and it may end
before everything is said. Each rule here handles one of these cases; `csm.model.sampling.draw_first` prevents some.

| rule | reason |
|---|---|
| floor | A turn cannot end before `min_frames`: nobody speaks faster. |
| cap | A turn longer than `max_seconds` no longer follows the text: it ends as `length`. |
| silence | After `MAX_SILENT_SECONDS` of silence, no speech follows: the turn ends as `silence`. |
| loop | A first codebook that repeats a pattern for `LOOP_SECONDS` is stuck: the turn ends as `repeat`. |
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from csm.audio.waveform import Samples
from csm.engine.api import Chunk

FinishReason = Literal["stop", "length", "silence", "repeat"]
"""How audio ended, as reported to clients: by itself, at a limit, in silence or with words missing, or in a loop."""

SEVERITY: dict[FinishReason, int] = {"stop": 0, "silence": 1, "length": 2, "repeat": 3}
"""The finish reason of a text is that of its worst segment."""

SECONDS_PER_CHARACTER, SECONDS_PER_DIGIT, GRACE_SECONDS = 0.12, 0.6, 2.0
"""The slowest pace of reading: 8 characters a second, a word for each digit, and time for breath and the last word."""

FASTEST_CHARACTERS_PER_SECOND = 50.0
"""Four times the pace of an audiobook. The floor only has to prevent turns that leave out most of the words."""

COMPLETE_CHARACTERS_PER_SECOND = 25.0
"""Twice the pace of an audiobook: audio that is shorter than that lacks words."""

SILENCE_DBFS = -50.0
"""Level below which a frame is silent: above the noise of Mimi, and below breath."""

MAX_SILENT_SECONDS = 2.0
"""Good takes have pauses of up to 1.04 s, so one second would be too short."""

LOOP_SECONDS, MAX_PERIOD_FRAMES = 2.0, 25
"""A loop is a pattern of up to two seconds that is repeated for two more seconds."""

TAIL_SECONDS = 0.3
"""Silence that is kept after the last word."""


def max_seconds(text: str) -> float:
    """Return the maximum time, in seconds, that speaking `text` can reasonably take."""
    digits = sum(character.isdigit() for character in text)
    return GRACE_SECONDS + SECONDS_PER_CHARACTER * (len(text) - digits) + SECONDS_PER_DIGIT * digits


def min_frames(text: str, frame_rate: float) -> int:
    """Return the minimum number of frames of `text`."""
    return int(len(text) / FASTEST_CHARACTERS_PER_SECOND * frame_rate)


def says_all(text: str, spoken_seconds: float) -> bool:
    """Return whether `text` can have been said in that many seconds of speech."""
    return spoken_seconds >= len(text) / COMPLETE_CHARACTERS_PER_SECOND


@dataclass
class EndingDetector:
    """Detect the end of one segment, and hold silence back until speech follows it.

    Args:
        sample_rate: in Hz.
        frame_rate: frames per second.

    Attributes:
        spoken_seconds: duration of the frames that were not silent.
        reason: why the segment has to end now, or None.
    """

    sample_rate: int
    frame_rate: float
    spoken_seconds: float = field(default=0.0, init=False)
    reason: FinishReason | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._silent: list[Samples] = []
        self._first_codes: list[int] = []
        self._matches = np.zeros(MAX_PERIOD_FRAMES, np.int64)

    def push(self, chunk: Chunk) -> Samples:
        """Take the next frames; return the samples `[samples]` that can be sent.

        Of silence before the first sound, only the last frame is sent; of silence at the end, `finish` returns
        `TAIL_SECONDS`.
        """
        ready: list[Samples] = []
        for codes, samples in zip(chunk.codes, np.split(chunk.samples, len(chunk.codes)), strict=True):
            level = 10 * np.log10(float(np.mean(np.square(samples, dtype=np.float64))) + 1e-12)
            if level < SILENCE_DBFS:
                self._silent.append(samples)
            else:
                ready += self._silent if self.spoken_seconds else self._silent[-1:]
                ready.append(samples)
                self._silent.clear()
                self.spoken_seconds += 1 / self.frame_rate
            self._follow(int(codes[0]))
            if len(self._silent) >= MAX_SILENT_SECONDS * self.frame_rate:
                self.reason = "silence"
            elif self._matches.max() >= LOOP_SECONDS * self.frame_rate:
                self.reason = "repeat"
            if self.reason is not None:
                break
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def finish(self) -> Samples:
        """Return the last samples to send: the beginning of the silence after the last word."""
        silent = np.concatenate(self._silent) if self._silent and self.spoken_seconds else np.zeros(0, np.float32)
        self._silent.clear()
        return silent[: round(TAIL_SECONDS * self.sample_rate)]

    def _follow(self, code: int) -> None:
        """For each period, count the consecutive frames whose first code equals that of one period before."""
        self._first_codes.append(code)
        for period in range(1, MAX_PERIOD_FRAMES + 1):
            same = len(self._first_codes) > period and self._first_codes[-1 - period] == code
            self._matches[period - 1] = self._matches[period - 1] + 1 if same else 0
        del self._first_codes[: -MAX_PERIOD_FRAMES - 1]
