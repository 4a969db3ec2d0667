"""Frame-synchronous continuous batching: every step makes one frame for every slot.

Requests join and leave at frame borders. A prompt is prefilled in chunks between frames, so that a new request does not
make the running ones stutter.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from csm.engine.api import EngineInfo
from csm.engine.codec_worker import CodecStream, CodecWorker, DecodeJob
from csm.engine.devices import describe_failure
from csm.engine.prefill import ChunkedPrefill, Prompt, frame_rows
from csm.engine.prefix_cache import PrefixCache
from csm.engine.request import Generation
from csm.engine.runtimes.base import BAD_CODE, Runtime
from csm.engine.stats import EngineStats
from csm.errors import Cancelled, CsmError, GenerationFailed

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Slot:
    """One running generation; its row of the batch is its index in the list of slots.

    Attributes:
        prompt: the prompt of its generation.
        length: positions in its row of the KV cache.
        stream: its codec state.
        frames: made so far, each `[codebooks]`.
        joined: when it got its row, by the monotonic clock.
    """

    prompt: Prompt
    length: int
    stream: CodecStream
    frames: list[Tensor] = field(default_factory=list)
    joined: float = field(default_factory=time.monotonic)

    @property
    def generation(self) -> Generation:
        """The generation that gets the frames."""
        return self.prompt.generation


class Scheduler:
    """Waiting prompts, the one that is being prefilled, and the running slots. Not thread-safe.

    Args:
        runtime: the model on its device.
        codec: decodes the frames.
        voices: the cache of voices, trimmed when a prefill has stored a prefix.
        info: of the engine; `slots` is at most the rows of the runtime.
        stats: statistics of the engine, to which measurements are added.
    """

    def __init__(
        self, runtime: Runtime, codec: CodecWorker, voices: PrefixCache, info: EngineInfo, stats: EngineStats
    ) -> None:
        self._runtime, self._codec, self._voices, self._stats = runtime, codec, voices, stats
        self._max_slots, self._frame_rate = info.slots, info.frame_rate
        self._waiting: deque[Prompt] = deque()
        self._prefill: ChunkedPrefill | None = None
        self._slots: list[Slot] = []

    @property
    def running(self) -> int:
        """Generations that hold a slot, the one that is being prefilled included."""
        return len(self._slots) + (self._prefill is not None)

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._waiting or self._prefill or self._slots)

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache that is in use, 0 to 1."""
        return sum(slot.length for slot in tuple(self._slots)) / (self._max_slots * self._runtime.positions)

    def add(self, prompt: Prompt) -> None:
        """Queue a prompt; the only method that other threads may call."""
        self._waiting.append(prompt)

    def step(self) -> None:
        """Admit the next prompt, prefill a chunk of it, make a frame for every slot, and hand the frames on."""
        began = time.monotonic()
        self._drop_cancelled()
        self._admit()
        self._prefill_chunk()
        if not self._slots:
            return
        rows = len(self._slots)
        length = max(slot.length for slot in self._slots) + 1
        top_k = max(slot.generation.sampling.top_k for slot in self._slots)
        codes = self._runtime.step(rows, length, top_k)
        # From the last row to the first: `_free` moves the last row into the gap.
        for row in reversed(range(rows)):
            if self._append(row, codes[row]):
                self._free(row)
        self._stats.batch_size.observe(rows)
        self._stats.step_seconds.observe(time.monotonic() - began)

    def fail_running(self, error: CsmError) -> None:
        """End every generation that holds a slot."""
        if self._prefill is not None:
            self._prefill.prompt.generation.finish(error)
            self._prefill = None
        for slot in self._slots:
            self._finish(slot, error)
        self._slots.clear()

    def fail_waiting(self, error: CsmError) -> None:
        """End every generation that waits for a slot."""
        while self._waiting:
            self._waiting.popleft().generation.finish(error)

    def _drop_cancelled(self) -> None:
        for row in reversed(range(len(self._slots))):
            if self._slots[row].generation.cancelled:
                self._finish(self._slots[row], Cancelled("the client disconnected"))
                self._free(row)

    def _admit(self) -> None:
        """Start to prefill the next prompt if a slot is free and no other prefill is under way."""
        while self._prefill is None and self._waiting and len(self._slots) < self._max_slots:
            prompt = self._waiting.popleft()
            if not prompt.generation.cancelled:
                self._stats.queue_seconds.observe(time.monotonic() - prompt.queued)
                with self._isolated(prompt.generation):
                    self._prefill = ChunkedPrefill(prompt, self._runtime)

    def _prefill_chunk(self) -> None:
        """Prefill about as much as takes the time of a frame, or all of it if nothing else is running."""
        prefill = self._prefill
        if prefill is None:
            return
        generation = prefill.prompt.generation
        with self._isolated(generation):
            while not prefill.done and not generation.cancelled:
                chunk = self._runtime.prefill_chunk if self._slots else self._runtime.idle_prefill_chunk
                self._stats.prefilled_positions += prefill.advance(chunk)
                if self._slots:
                    break
            if generation.cancelled:
                self._prefill = None
                generation.finish(Cancelled("the client disconnected"))
                return
            if prefill.done:
                self._prefill = None
                self._voices.trim()
                length = prefill.prompt.length - 1
                self._runtime.join(len(self._slots), length, prefill.last, generation.sampling)
                self._slots.append(Slot(prefill.prompt, length, CodecStream(self._runtime.decoder)))

    def _append(self, row: int, frame: Tensor) -> bool:
        """Hand one frame on; return whether the slot is done."""
        slot = self._slots[row]
        slot.length += 1
        if int(frame[0]) == BAD_CODE:
            return self._finish(
                slot, GenerationFailed("the model's state is not finite: try another recording or text")
            )
        # An end frame is all zeros; `transformers` stops on all but the last, and such a frame is no sound either.
        if not bool(frame[:-1].any()):
            self._keep(row)
            return self._finish(slot)
        slot.frames.append(frame)
        if (codes := slot.stream.push(frame)) is not None:
            self._codec.put(DecodeJob(slot.generation, slot.stream, codes))
        full = len(slot.frames) >= slot.generation.max_frames or slot.length >= self._runtime.positions
        slot.generation.is_cut = full
        if full:
            self._keep(row)
        return full and self._finish(slot)

    def _keep(self, row: int) -> None:
        """Keep the keys and values of a generation that is done, for the next one of its conversation."""
        slot = self._slots[row]
        if slot.generation.cache is not None:
            # The row holds the prompt and the frames, but the last: an end frame, or one that was no input any more.
            rows = torch.cat([slot.prompt.rows, *(frame_rows(frame[None]) for frame in slot.frames)])[: slot.length]
            self._voices.keep(slot.generation.cache, rows, partial(self._runtime.save_row, row, slot.length))

    def _finish(self, slot: Slot, error: CsmError | None = None) -> bool:
        """Let the codec decode what is left, unless the generation failed; return True."""
        left = None
        if error is None:
            left = slot.stream.flush()
            frames = slot.length + 1 - slot.prompt.length
            self._stats.real_time_factor.observe((time.monotonic() - slot.joined) * self._frame_rate / frames)
        self._codec.put(DecodeJob(slot.generation, slot.stream, left, last=True, error=error))
        return True

    def _free(self, row: int) -> None:
        """Free a row and move the last one into the gap: the rows in use are always the first."""
        last = len(self._slots) - 1
        if row != last:
            self._slots[row] = self._slots[last]
            self._runtime.move(last, row, self._slots[row].length)
        self._slots.pop()

    @contextmanager
    def _isolated(self, generation: Generation) -> Iterator[None]:
        """Let an error in a prefill end that generation only, unless the device is lost."""
        try:
            yield
        except Exception as error:
            fatal, client_error = describe_failure(error)
            self._prefill = None
            generation.finish(client_error)
            if fatal:
                raise
            generation.context.run(log.exception, "a prompt could not be prefilled")
