"""Speak the segments of a text one after the other in one voice.

Each segment is generated as a turn of a conversation: first the voice's reference audio, then the most recent segments,
then the new one. So voice, loudness and pace are kept. A slot of the engine is held for one segment at a time, so that
waiting requests get a slot in between.

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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from csm.audio.waveform import Samples
from csm.engine.api import ChunkStream, Engine, Sampling
from csm.engine.prefix_cache import ConversationCache
from csm.errors import GenerationFailed, InvalidRequest
from csm.model.conversation import Turn
from csm.speech.endings import SEVERITY, EndingDetector, FinishReason, max_seconds, min_frames
from csm.speech.history import History
from csm.speech.playback import Playback
from csm.speech.segments import Limits, Segment, split
from csm.speech.takes import FADE_SECONDS, Fade, Take, join
from csm.speech.voice import Voice, conversation

log = logging.getLogger(__name__)

MAX_RETRIES = 2

HISTORY_SECONDS = 45.0
"""Maximum audio of earlier segments in the context of the next one: about three segments. The longer it is, the more
rarely keys and values are computed again, but the more memory they take, and the more time each frame."""


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
        cache: of the conversation; None if there is only one segment.

    Attributes:
        finish_reason: that of the worst segment so far.
        retries: number of times that a segment was generated again.
    """

    def __init__(
        self,
        engine: Engine,
        voice: Voice,
        manner: Manner,
        is_disconnected: Callable[[], bool],
        cache: ConversationCache | None = None,
    ) -> None:
        self._engine, self._voice, self._manner, self._is_disconnected = engine, voice, manner, is_disconnected
        self._rate, self._frame_rate = engine.info.sample_rate, engine.info.frame_rate
        self._playback = Playback(self._rate, manner.max_seconds, manner.speed, manner.streamed)
        self._history, self._cache = History(HISTORY_SECONDS), cache
        self._generations = 0
        self._lead = self._silence(0)
        self.finish_reason: FinishReason = "stop"
        self.retries = 0

    def speak(self, segments: Sequence[Segment], lead_seconds: float = 0.0) -> Iterator[Samples]:
        """Yield the samples `[samples]` of all segments and of the pauses between them.

        Args:
            segments: at least one.
            lead_seconds: silence before the first segment.

        Raises:
            GenerationFailed: see the table of this module.
            Cancelled: the client disconnected.
            DeadlineExceeded: no slot became free in time.
        """
        # Sent with the first audio, because an error before that can still be answered with its own status.
        self._lead = self._silence(lead_seconds)
        for segment in segments:
            # Whether the request's limit may end the segment rather than the model.
            may_be_cut = self._playback.left_seconds < max_seconds(segment.text)
            take = yield from self._segment(segment.text, may_be_cut)
            self._remember(take)
            if segment.pause:
                yield self._send(self._silence(segment.pause))
            # After a segment that was cut, the next one would take the place of the missing words.
            if self._playback.reached_limit or (may_be_cut and not take.is_good):
                self._finish("length")
                return

    def _segment(self, text: str, may_be_cut: bool) -> Generator[Samples, None, Take]:
        """Send a segment and return its take: the first of which anything was sent, or was good, else the best."""
        takes: list[Take] = []
        for number in range(1 + MAX_RETRIES):
            take, was_sent = yield from self._attempt(text, [text] if number < MAX_RETRIES else _halves(text))
            if was_sent:
                return take
            if take.is_good or (may_be_cut and take.samples):
                break
            log.info("a segment of %d characters ended badly (%s)", len(text), take.error or take.reason)
            self.retries += 1
            takes.append(take)
        else:
            take = self._best(takes)
        for samples in take.samples:
            yield self._send(samples)
        return take

    def _attempt(self, text: str, pieces: Sequence[str]) -> Generator[Samples, None, tuple[Take, bool]]:
        """Generate a segment in pieces; return the whole take, and whether it was sent.

        It is sent as soon as it cannot be held back any longer.
        """
        takes: list[Take] = []
        held: list[Samples] = []
        was_sent = False
        try:
            for piece in pieces:
                take = Take(piece)
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
            return Take(text, error=error), False
        return join(text, takes), was_sent

    def _best(self, takes: Sequence[Take]) -> Take:
        """Return the best of several takes, none of which is good."""
        best = max(takes, key=lambda take: take.quality)
        if not best.samples:
            if error := next((take.error for take in takes if take.error is not None), None):
                raise error
            if not self._playback.has_begun:
                raise GenerationFailed(
                    "the model ended its turn before saying anything: rephrase the text, check the transcript, "
                    "or try another recording"
                )
            best.reason = "silence"
        return best

    def _generate(self, take: Take, before: Sequence[Take]) -> Iterator[Samples]:
        """Fill a take, which continues those `before` it; yield the samples of it that are kept."""
        detector, fade = EndingDetector(self._rate, self._frame_rate), Fade(round(FADE_SECONDS * self._rate))
        with closing(self._start(take.text, [one.as_turn(self._rate) for one in before if one.samples])) as chunks:
            for chunk in chunks:
                take.codes.append(chunk.codes)
                yield from take.keep(fade.pass_on(detector.push(chunk)))
                if detector.reason is not None:
                    break
        take.reason = detector.reason or ("length" if chunks.is_cut else "stop")
        take.spoken_seconds = detector.spoken_seconds
        yield from take.keep(fade.end(detector.finish()))

    def _start(self, text: str, before: list[Turn]) -> ChunkStream:
        """Start a generation behind the history and the turns `before`; drop old turns that do not fit."""
        manner = self._manner
        limit = min(max_seconds(text), manner.max_segment_seconds, self._playback.left_seconds)
        seed = (manner.seed + self._generations) % 2**63
        sampling = Sampling(seed, manner.temperature, manner.top_k, min_frames(text, self._frame_rate))
        self._generations += 1
        while True:
            try:
                return self._engine.generate(
                    conversation(self._voice, text, [*self._history.turns, *before]),
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
        self._finish(take.reason)
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


def _halves(text: str) -> list[str]:
    """Divide a text that the model failed to speak as a whole."""
    half = max(20, -(-len(text) // 2))
    pieces = [piece.text for piece in split(text, Limits(first=half, target=half, maximum=half, short=0))]
    return pieces if all(any(map(str.isalnum, piece)) for piece in pieces) else [text]
