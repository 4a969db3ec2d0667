"""Speak the segments of a text one after the other in one voice.

Each segment is generated as a turn of a conversation: first the voice's reference audio, then the most recent segments,
then the new one. So voice, loudness and pace are kept. A slot of the engine is held for one segment at a time, so that
waiting requests get a slot in between.

The first segment is sent while it is generated. Later segments are held back as long as the client still has audio to
play. A segment that ends badly before any of it was sent is generated again, at most `MAX_RETRIES` times.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from csm.audio.waveform import Samples
from csm.engine.api import Chunk, ChunkStream, Engine, Sampling
from csm.errors import GenerationFailed, InvalidRequest
from csm.model.conversation import Turn
from csm.speech.endings import SEVERITY, EndingDetector, FinishReason, max_seconds, min_frames
from csm.speech.segments import Limits, Segment, split
from csm.speech.takes import FADE_SECONDS, Fade, Take, join
from csm.speech.voice import Voice, conversation

log = logging.getLogger(__name__)

MAX_RETRIES = 2

HISTORY_SECONDS = 15.0
"""Maximum audio of earlier segments in the context of the next one; at least the last segment is always kept."""

MIN_AHEAD_SECONDS = 1.5
"""A segment is sent once the client has less audio than this left to play."""


@dataclass(frozen=True)
class Manner:
    """How a text is spoken.

    Attributes:
        seed: of the first segment; the seeds of the others are derived from it.
        temperature: see `Sampling`.
        top_k: see `Sampling`.
        max_seconds: of the whole audio; None for as much as the text needs.
        max_segment_seconds: of the audio of one segment.
        streamed: whether audio is sent while it is generated; otherwise any segment can be generated again.
        speed: at which the client plays the audio.
    """

    seed: int
    temperature: float
    top_k: int
    max_seconds: float | None
    max_segment_seconds: float
    streamed: bool
    speed: float = 1.0


class Narration:
    """Generate the audio of one text.

    Args:
        engine: generates the audio of each segment.
        voice: to speak in.
        manner: how to speak.
        is_disconnected: polled at every frame.

    Attributes:
        finish_reason: that of the worst segment so far.
        retries: number of times that a segment was generated again.
    """

    def __init__(self, engine: Engine, voice: Voice, manner: Manner, is_disconnected: Callable[[], bool]) -> None:
        self._engine, self._voice, self._manner, self._is_disconnected = engine, voice, manner, is_disconnected
        self._rate, self._frame_rate = engine.info.sample_rate, engine.info.frame_rate
        self._history: list[Turn] = []
        self._sent = 0
        self._began: float | None = None
        self._generations = 0
        self._is_over = False
        self.finish_reason: FinishReason = "stop"
        self.retries = 0

    def speak(self, segments: Sequence[Segment], lead_seconds: float = 0.0) -> Iterator[Samples]:
        """Yield the samples `[samples]` of all segments and of the pauses between them.

        Args:
            segments: at least one.
            lead_seconds: silence before the first segment.

        Raises:
            GenerationFailed: a segment got no audio in any attempt, and nothing has been sent yet.
            Cancelled: the client disconnected.
            DeadlineExceeded: no slot became free in time.
        """
        for segment in segments:
            for samples in self._segment(segment):
                if lead_seconds:
                    # Sent with the first audio, because an error before that can still be answered with its own status.
                    yield self._send(self._silence(lead_seconds))
                    lead_seconds = 0.0
                yield self._send(samples)
            if segment.pause:
                yield self._send(self._silence(segment.pause))
            if self._is_over:
                self._finish("length")
                return

    def _segment(self, segment: Segment) -> Iterator[Samples]:
        """Yield the best take of a segment, or the first one of which anything was sent."""
        best: Take | None = None
        is_last = self._limit_is_near(segment.text)
        for attempt in range(1 + MAX_RETRIES):
            texts = [segment.text] if attempt < MAX_RETRIES else _halves(segment.text)
            held: list[Samples] = []
            takes: list[Take] = []
            sent = False
            for text in texts:
                take = Take(text)
                takes.append(take)
                for samples in self._take(take, takes[:-1]):
                    held.append(samples)
                    if sent or not self._may_hold():
                        sent = True
                        yield from held
                        held.clear()
            whole = join(segment.text, takes)
            if sent or whole.is_good or (is_last and whole.samples):
                self._keep(whole)
                yield from held
                # If the request's limit cut the segment short, it is the last: a later one would take the place of the
                # missing words.
                self._is_over |= is_last and not whole.is_good
                return
            log.info("a segment of %d characters ended badly (%s)", len(segment.text), whole.reason)
            self.retries += 1
            best = whole if best is None else max(best, whole, key=lambda take: take.quality)
        if best is None or not best.samples:
            if not self._sent:
                raise GenerationFailed(
                    "the model ended its turn before saying anything: rephrase the text, check the transcript, "
                    "or try another recording"
                )
            self._finish("silence")
            self._is_over |= is_last
            return
        self._keep(best)
        yield from best.samples

    def _take(self, take: Take, before: Sequence[Take]) -> Iterator[Samples]:
        """Generate one take; yield the samples of it that are kept."""
        manner, detector = self._manner, EndingDetector(self._rate, self._frame_rate)
        limit = min(max_seconds(take.text), manner.max_segment_seconds, self._left_seconds())
        sampling = Sampling(
            (manner.seed + self._generations) % 2**63,
            manner.temperature,
            manner.top_k,
            min_frames=min_frames(take.text, self._frame_rate),
        )
        self._generations += 1
        turns = [*self._history, *(one.as_turn(self._rate) for one in before if one.samples)]
        max_frames = max(1, round(limit * self._frame_rate))
        fade = Fade(round(FADE_SECONDS * self._rate))
        with closing(self._generate(take.text, turns, sampling, max_frames)) as chunks:
            for chunk in chunks:
                yield from self._kept(take, chunk, fade.pass_on(detector.push(chunk)))
                if detector.reason is not None:
                    break
        take.reason = detector.reason or ("length" if chunks.is_cut else "stop")
        take.spoken_seconds = detector.spoken_seconds
        yield from self._kept(take, None, fade.end(detector.finish()))

    def _generate(self, text: str, history: Sequence[Turn], sampling: Sampling, max_frames: int) -> ChunkStream:
        """Start a generation, without the history if the context has no room for it."""

        def start(turns: Sequence[Turn]) -> ChunkStream:
            return self._engine.generate(
                conversation(self._voice, text, turns),
                sampling,
                max_frames,
                self._is_disconnected,
                has_deadline=self._began is None,
            )

        try:
            return start(history)
        except InvalidRequest:
            if not history:
                raise
            self._history.clear()
            return start(())

    def _kept(self, take: Take, chunk: Chunk | None, samples: Samples) -> Iterator[Samples]:
        if chunk is not None:
            take.codes.append(chunk.codes)
        if len(samples):
            take.samples.append(samples)
            yield samples

    def _silence(self, seconds: float) -> Samples:
        return np.zeros(round(seconds * self._rate), np.float32)

    def _keep(self, take: Take) -> None:
        """Record how a segment ended, and make it context of the next one if it is good."""
        self._finish(take.reason)
        if not take.is_good or not take.samples:
            self._history.clear()
            return
        self._history.append(take.as_turn(self._rate))
        while len(self._history) > 1 and sum(_seconds(turn) for turn in self._history) > HISTORY_SECONDS:
            self._history.pop(0)

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = max(self.finish_reason, reason, key=SEVERITY.__getitem__)

    def _may_hold(self) -> bool:
        """Return whether a segment can be held back: nothing is streamed, or the client still has audio to play."""
        if not self._manner.streamed:
            return True
        if self._began is None:
            return False
        return self._sent / self._rate / self._manner.speed - (time.monotonic() - self._began) > MIN_AHEAD_SECONDS

    def _limit_is_near(self, text: str) -> bool:
        """Return whether a segment may be ended by the request's limit rather than by the model."""
        return self._left_seconds() < max_seconds(text)

    def _left_seconds(self) -> float:
        limit = self._manner.max_seconds
        return float("inf") if limit is None else limit - self._sent / self._rate

    def _send(self, samples: Samples) -> Samples:
        """Count samples as sent; cut them at the request's limit."""
        if self._began is None:
            self._began = time.monotonic()
        if self._manner.max_seconds is not None:
            left = round(self._manner.max_seconds * self._rate) - self._sent
            if len(samples) > left:
                self._finish("length")
                samples = samples[:left]
            self._is_over |= len(samples) == left
        self._sent += len(samples)
        return samples


def _halves(text: str) -> list[str]:
    """Divide a text that the model failed to speak as a whole."""
    half = max(20, -(-len(text) // 2))
    pieces = [piece.text for piece in split(text, Limits(first=half, target=half, maximum=half, short=0))]
    return pieces if all(any(map(str.isalnum, piece)) for piece in pieces) else [text]


def _seconds(turn: Turn) -> float:
    return turn.audio.seconds if turn.audio is not None else 0.0
