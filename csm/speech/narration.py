"""Speak the segments of a text, or the turns of a dialogue, one after the other.

Each segment is generated as a turn of a conversation: first the reference audio of each voice, then what was said most
recently, then the new segment (`csm.speech.history`). So voice, loudness and pace are kept. A slot of the engine is
held for one segment at a time, so that waiting requests get a slot in between.

A segment may need several takes (`csm.speech.takes`). The first segment is sent while it is generated. Later segments
are held back as long as the client still has audio to play (`csm.speech.playback`). If nothing of a segment was sent
yet, it is generated again, at most `MAX_RETRIES` times, after:

| case | what happens if no take is good |
|---|---|
| it ended badly: at the cap, in silence or in a loop, or words are missing | the best take is sent |
| it has no sound | if nothing was sent so far, `GenerationFailed`, otherwise the segment is left out |
| the engine failed (`GenerationFailed`), for example: state not finite | that error, unless a take has sound |

A segment that the request's limit ends is not generated again, since every take would end there.
"""

import logging
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from csm.audio.waveform import Samples
from csm.engine.api import ChunkStream, Engine, Sampling
from csm.engine.prefix_cache import ConversationPrefix
from csm.errors import GenerationFailed, InvalidRequest
from csm.model.conversation import Turn
from csm.speech.api import Delivery
from csm.speech.endings import SEVERITY, EndingDetector, FinishReason, max_seconds, min_frames
from csm.speech.frontend import Script
from csm.speech.history import History
from csm.speech.playback import Playback
from csm.speech.segments import halves
from csm.speech.takes import FADE_SECONDS, Fade, Take, join
from csm.speech.voice import ROLE

log = logging.getLogger(__name__)

MAX_RETRIES = 2


class Narration:
    """Generate the audio of one request.

    Args:
        engine: generates the audio of each segment.
        history: the voices, and what was said already.
        delivery: how to speak. The seeds of later segments are derived from its seed.
        max_segment_seconds: maximum audio of one segment.
        is_disconnected: polled at every frame.
        cache: of the conversation; None if there is only one segment.
        clock: returns seconds.

    Attributes:
        finish_reason: that of the worst segment so far.
        retries: number of times that a segment was generated again.
        is_over: whether nothing more can be said within the request's limit.
    """

    def __init__(
        self,
        engine: Engine,
        history: History,
        delivery: Delivery,
        max_segment_seconds: float,
        is_disconnected: Callable[[], bool],
        cache: ConversationPrefix | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._history, self._is_disconnected = engine, history, is_disconnected
        self._delivery, self._max_segment_seconds = delivery, max_segment_seconds
        self._seed = secrets.randbits(63) if delivery.seed is None else delivery.seed
        self._rate, self._frame_rate = engine.info.sample_rate, engine.info.frame_rate
        # What is generated here is made faster or slower afterwards.
        limit = None if delivery.max_seconds is None else delivery.max_seconds * delivery.speed
        self._playback = Playback(self._rate, limit, delivery.speed, delivery.stream, clock)
        self._cache = cache
        self._generations = 0
        self._lead = self._silence(0)
        self.finish_reason: FinishReason = "stop"
        self.retries = 0
        self.is_over = False

    def add_context(self, turn: Turn) -> None:
        """Add a turn that was said by others, with its audio and codes."""
        self._history.add(turn)

    def speak(self, script: Script, role: str = ROLE) -> Iterator[Samples]:
        """Yield the samples `[samples]` of all segments and of the pauses between them.

        Args:
            script: what to say.
            role: of the speaker.

        Raises:
            GenerationFailed: see the table of this module.
            Cancelled: the client disconnected.
            DeadlineExceeded: no slot became free in time.
        """
        # Sent with the first audio, because an error before that can still be answered with its own status.
        self._lead = self._silence(script.lead)
        for segment in script.segments:
            # Whether the request's limit may end the segment rather than the model.
            may_be_cut = self._playback.left_seconds < max_seconds(segment.text)
            take = yield from self._segment(Turn(role, segment.text), may_be_cut)
            self._remember(take)
            if segment.pause:
                yield self._send(self._silence(segment.pause))
            # After a segment that was cut, the next one would take the place of the missing words.
            self.is_over = self._playback.reached_limit or (may_be_cut and not take.is_good)
            if self.is_over:
                self._finish("length")
                return

    def _segment(self, target: Turn, may_be_cut: bool) -> Generator[Samples, None, Take]:
        """Send a segment and return its take: the first of which anything was sent, or was good, else the best."""
        takes: list[Take] = []
        for number in range(1 + MAX_RETRIES):
            pieces = [target.text] if number < MAX_RETRIES else halves(target.text)
            take, was_sent = yield from self._attempt(target, pieces)
            if was_sent:
                return take
            if take.is_good or (may_be_cut and take.samples):
                break
            log.info("a segment of %d characters ended badly (%s)", len(target.text), take.error or take.reason)
            self.retries += 1
            takes.append(take)
        else:
            take = self._best(takes)
        for samples in take.samples:
            yield self._send(samples)
        return take

    def _attempt(self, target: Turn, pieces: Sequence[str]) -> Generator[Samples, None, tuple[Take, bool]]:
        """Generate a segment in pieces; return the whole take, and whether it was sent.

        It is sent as soon as it cannot be held back any longer.
        """
        takes: list[Take] = []
        held: list[Samples] = []
        was_sent = False
        try:
            for piece in pieces:
                take = Take(replace(target, text=piece))
                for samples in self._generate(take, takes):
                    held.append(samples)
                    if was_sent or not self._playback.may_hold():
                        was_sent = True
                        yield from map(self._send, held)
                        held.clear()
                takes.append(take)
        except GenerationFailed as error:
            if was_sent:
                raise
            return Take(target, error=error), False
        return join(target, takes), was_sent

    def _best(self, takes: Sequence[Take]) -> Take:
        """Return the best of several takes, none of which is good."""
        best = max(takes, key=lambda take: take.quality)
        if not best.samples:
            if error := next((take.error for take in takes if take.error is not None), None):
                raise error
            if not self._playback.has_begun:
                raise GenerationFailed(
                    "nothing was said within max_seconds: raise it"
                    if all(take.reason == "length" for take in takes)
                    else "the model ended its turn before saying anything: rephrase the text, check the transcript, "
                    "or try another recording"
                )
            best.reason = "silence"
        return best

    def _generate(self, take: Take, before: Sequence[Take]) -> Iterator[Samples]:
        """Fill a take, which continues those `before` it; yield the samples of it that are kept."""
        detector, fade = EndingDetector(self._rate, self._frame_rate), Fade(round(FADE_SECONDS * self._rate))
        with closing(self._start(take.target, [one.as_turn(self._rate) for one in before if one.samples])) as chunks:
            for chunk in chunks:
                take.codes.append(chunk.codes)
                yield from take.keep(fade.pass_on(detector.push(chunk)))
                if detector.reason is not None:
                    break
        take.reason = detector.reason or ("length" if chunks.is_cut else "stop")
        take.spoken_seconds = detector.spoken_seconds
        yield from take.keep(fade.end(detector.finish()))

    def _start(self, target: Turn, before: list[Turn]) -> ChunkStream:
        """Start a generation behind the history and the turns `before`; drop old turns that do not fit."""
        delivery = self._delivery
        limit = min(max_seconds(target.text), self._max_segment_seconds, self._playback.left_seconds)
        seed = (self._seed + self._generations) % 2**63
        sampling = Sampling(seed, delivery.temperature, delivery.top_k, min_frames(target.text, self._frame_rate))
        self._generations += 1
        while True:
            try:
                return self._engine.generate(
                    self._history.conversation(target, before),
                    sampling,
                    max(1, round(limit * self._frame_rate)),
                    self._is_disconnected,
                    has_deadline=not self._playback.has_begun,
                    cache=self._cache,
                )
            except InvalidRequest:
                if not self._history.turns and not before:
                    raise
                if not self._history.turns:
                    before = []
                self._history.drop_older()

    def _remember(self, take: Take) -> None:
        """Record how a segment ended, and make it context of the next one if it is good."""
        self._finish(take.finish_reason)
        if take.is_good and take.samples:
            self._history.add(take.as_turn(self._rate))

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = max(self.finish_reason, reason, key=SEVERITY.__getitem__)

    def _silence(self, seconds: float) -> Samples:
        return np.zeros(round(seconds * self._rate), np.float32)

    def _send(self, samples: Samples) -> Samples:
        """Return what is sent of `samples`: with the lead before the first, and up to the request's limit."""
        if len(self._lead):
            samples, self._lead = np.concatenate([self._lead, samples]), self._silence(0)
        sent = self._playback.send(samples)
        if self._playback.was_cut:
            self._finish("length")
        return sent
