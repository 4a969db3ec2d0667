"""The `csm` engine: one thread, one loop, many callers in one batch.

Every turn of the loop makes one frame for every slot. Requests join and leave at frame borders; a prompt is
read in pieces between frames, so that a newcomer does not make the others stutter.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from csm.engine.api import EngineInfo, Sampling
from csm.engine.codec_worker import CodecStream
from csm.engine.devices import describe_failure
from csm.engine.request import Generation
from csm.engine.prefill import Prompt, Reading
from csm.engine.runtimes.torch import BAD_CODE, Runtime
from csm.engine.codec_worker import CodecWorker, Work
from csm.engine.voice_encoder import VoiceEncoder
from csm.engine.prefix_cache import PrefixCache, CachedVoice
from csm.errors import Cancelled, CsmError, GenerationFailed, InvalidRequest
from csm.model.conversation import Conversation, Tokenizer

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Slot:
    """One running generation; its row of the batch is its place in the list of slots.

    Attributes:
        generation: whose frames these are.
        length: positions that its row holds.
        stream: on which its frames become sound.
        frames: made so far.
    """

    generation: Generation
    length: int
    stream: CodecStream
    frames: int = field(default=0)


class CsmEngine:
    """Frame-synchronous continuous batching; see `Engine`.

    Args:
        runtime: the model on its device.
        info: of this engine.
        tokenizer: of the checkpoint.
        voice_bytes: to spend on voices already heard.
        patience: longest wait of a caller for the next chunk, in seconds.
    """

    def __init__(
        self, runtime: Runtime, info: EngineInfo, tokenizer: Tokenizer, voice_bytes: int, patience: float = 120.0
    ) -> None:
        self.info, self._runtime, self._tokenizer, self._patience = info, runtime, tokenizer, patience
        device = torch.device(info.device)
        self._encoder = VoiceEncoder(runtime, device)
        self.voices = PrefixCache(voice_bytes, self._encoder.encode)
        self._sound = CodecWorker(runtime.decoder, runtime.codebooks, device)
        self._waiting: deque[Prompt] = deque()
        self._reading: Reading | None = None
        self._slots: list[Slot] = []
        self._wake, self._closed = threading.Condition(), False
        self._failure: str | None = None
        self._step_began: float | None = None
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self._thread.start()

    # -- what callers see ------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return len(self._slots) + (self._reading is not None)

    def generate(
        self, conversation: Conversation, sampling: Sampling, max_frames: int, gone: Callable[[], bool]
    ) -> Generation:
        """See `Engine.generate`. Waits until the voice is encoded, while others' frames go on."""
        # A top-k beyond the codes there are means all of them.
        sampling = replace(sampling, top_k=min(sampling.top_k, self._runtime.decoder.codebook_size))
        generation = Generation(conversation, sampling, max_frames, gone, self._patience)
        prompt = Prompt.of(generation, self._voice(conversation), self._tokenizer)
        if prompt.length >= self._runtime.positions:
            raise InvalidRequest("text and sample together are longer than the model's context: shorten either")
        with self._wake:
            if self._closed or self.failure():
                raise GenerationFailed("the engine has stopped")
            self._waiting.append(prompt)
            self._wake.notify()
        return generation

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        began = self._step_began
        if began is not None and time.monotonic() - began > self._patience:
            return "the device does not answer"
        return self._failure or self._sound.failure

    def close(self) -> None:
        """See `Engine.close`."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=10)
        self._encoder.close()
        self._sound.close()

    # -- the loop --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._await_work():
            self._step_began = time.monotonic()
            try:
                self.step()
            except Exception as error:
                log.exception("a step failed")
                self._fail(error)
            self._step_began = None
        self._drop_all(Cancelled("the server is shutting down"))

    def _await_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._waiting or self._reading or self._slots)
            return not self._closed

    def step(self) -> None:
        """One frame for all: let the next caller in, read a piece of its prompt, make the frame, hand it on."""
        self._admit()
        self._read()
        self._frame()

    def _admit(self) -> None:
        """Give the first of the queue a slot, if one is free and no other prompt is being read."""
        while self._reading is None and self._waiting and len(self._slots) < self.info.slots:
            prompt = self._waiting.popleft()
            if not prompt.generation.cancelled:
                with self._alone(prompt.generation):
                    self._reading = Reading(prompt, self._runtime)

    def _read(self) -> None:
        """Read a piece no longer than a frame takes, or all at once where nobody waits; then let it join."""
        reading = self._reading
        if reading is None:
            return
        if reading.prompt.generation.cancelled:
            self._reading = None
            return
        with self._alone(reading.prompt.generation):
            while not reading.done:
                reading.advance(self._runtime.prefill_chunk if self._slots else self._runtime.idle_prefill_chunk)
                if self._slots:
                    break
            if reading.done:
                self._reading = None
                self.voices.trim()
                self._join(reading)

    def _join(self, reading: Reading) -> None:
        prompt = reading.prompt
        slot = Slot(prompt.generation, prompt.length - 1, CodecStream(self._runtime.decoder))
        self._runtime.join(len(self._slots), slot.length, reading.last, prompt.generation.sampling)
        self._slots.append(slot)

    def _frame(self) -> None:
        """Make one frame for every slot; those that are done leave, from the last row to the first."""
        self._leave_early()
        if not self._slots:
            return
        length = max(slot.length for slot in self._slots) + 1
        top_k = max(slot.generation.sampling.top_k for slot in self._slots)
        codes = self._runtime.step(len(self._slots), length, top_k)
        for row in reversed(range(len(self._slots))):
            if self._take(self._slots[row], codes[row]):
                self._remove(row)

    def _leave_early(self) -> None:
        for row in reversed(range(len(self._slots))):
            if self._slots[row].generation.cancelled:
                self._finish(self._slots[row], Cancelled("the caller went away"))
                self._remove(row)

    def _take(self, slot: Slot, frame: Tensor) -> bool:
        """Hand one frame on; whether the slot is done."""
        slot.length += 1
        slot.frames += 1
        if int(frame[0]) == BAD_CODE:
            return self._finish(slot, GenerationFailed("the model's state is not finite: try another sample or text"))
        # An end frame is all zeros; the reference stops on all but the last, and such a frame is no sound either.
        if not bool(frame[:-1].any()):
            return self._finish(slot)
        if (codes := slot.stream.push(frame)) is not None:
            self._sound.put(Work(slot.generation, slot.stream, codes))
        full = slot.frames >= slot.generation.max_frames or slot.length >= self._runtime.positions
        return full and self._finish(slot)

    def _finish(self, slot: Slot, error: CsmError | None = None) -> bool:
        """What is left becomes sound, unless it failed; always True."""
        left = slot.stream.flush() if error is None else None
        self._sound.put(Work(slot.generation, slot.stream, left, last=True, error=error))
        return True

    def _remove(self, row: int) -> None:
        """Free a row; the last one moves into the gap, so that rows in use are always the first."""
        last = len(self._slots) - 1
        if row != last:
            self._slots[row] = self._slots[last]
            self._runtime.move(last, row, self._slots[row].length)
        self._slots.pop()

    # -- when it goes wrong ----------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, newcomer: Generation) -> Iterator[None]:
        """What goes wrong with a newcomer ends the newcomer only, unless the device is lost with it."""
        try:
            yield
        except Exception as error:
            fatal, told = describe_failure(error)
            self._reading = None
            newcomer.finish(told)
            if fatal:
                raise
            log.exception("a prompt could not be read")

    def _fail(self, error: Exception) -> None:
        """End the generations that the step was for; if the device is lost, end the engine."""
        fatal, told = describe_failure(error)
        self._failure = fatal or self._failure
        self._drop_all(told, waiting=fatal is not None)

    def _drop_all(self, error: CsmError, waiting: bool = True) -> None:
        if self._reading is not None:
            self._reading.prompt.generation.finish(error)
            self._reading = None
        for slot in self._slots:
            self._finish(slot, error)
        self._slots.clear()
        while waiting and self._waiting:
            self._waiting.popleft().generation.finish(error)

    def _voice(self, conversation: Conversation) -> CachedVoice:
        try:
            return self.voices.get(conversation.context)
        except Exception as error:
            fatal, told = describe_failure(error)
            self._failure = fatal or self._failure
            raise told from error
