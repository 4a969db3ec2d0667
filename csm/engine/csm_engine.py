"""The `csm` engine: one thread that steps a `Scheduler` for as long as there is work."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from csm.engine.api import EngineInfo, Sampling
from csm.engine.codec_worker import CodecWorker
from csm.engine.devices import describe_failure, memory
from csm.engine.prefill import Prompt
from csm.engine.prefix_cache import ConversationPrefix, PrefixCache
from csm.engine.request import Generation
from csm.engine.runtimes.base import Runtime
from csm.engine.scheduler import Scheduler
from csm.engine.stats import EngineStats
from csm.engine.voice_encoder import VoiceEncoder
from csm.errors import Cancelled, GenerationFailed, InvalidRequest
from csm.model.conversation import Conversation, Tokenizer, Turn

log = logging.getLogger(__name__)


class CsmEngine:
    """Continuous batching on one device; see `Engine`.

    Args:
        runtime: the model on its device.
        info: of this engine.
        tokenizer: of the checkpoint.
        voice_bytes: memory for the prefixes of voices.
        patience: longest wait of a client for the next chunk, in seconds.
    """

    def __init__(
        self, runtime: Runtime, info: EngineInfo, tokenizer: Tokenizer, voice_bytes: int, patience: float = 120.0
    ) -> None:
        self.info, self._runtime, self._tokenizer, self._patience = info, runtime, tokenizer, patience
        self._device, self._stats = torch.device(info.device), EngineStats()
        self._encoder = VoiceEncoder(runtime, self._device, self._stats)
        self.voices = PrefixCache(voice_bytes, self._encoder.encode, self._stats)
        self._codec = CodecWorker(runtime.decoder, runtime.codebooks, self._device, self._stats)
        self._scheduler = Scheduler(runtime, self._codec, self.voices, info, self._stats)
        self._wake, self._closed = threading.Condition(), False
        self._failure: str | None = None
        self._step_began: float | None = None
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return self._scheduler.running

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        *,
        has_deadline: bool = True,
        cache: ConversationPrefix | None = None,
    ) -> Generation:
        """See `Engine.generate`. Waits until the voice is encoded, while the frames of others go on."""
        # A top-k larger than the codebook means all of it.
        sampling = replace(sampling, top_k=min(sampling.top_k, self._runtime.decoder.codebook_size))
        patience = self._patience if has_deadline else None
        generation = Generation(conversation, sampling, max_frames, is_disconnected, patience, cache)
        with self._translated_failures():
            voice = self.voices.get(conversation.context, is_disconnected)
        prompt = Prompt.from_generation(generation, voice, self._tokenizer, self._runtime.codebooks)
        if prompt.length + (max_frames if conversation.said else 0) >= self._runtime.positions:
            raise InvalidRequest(
                "text and reference audio together are longer than the model's context: shorten either"
            )
        with self._wake:
            if self._closed or self.failure():
                raise GenerationFailed("the engine has stopped")
            self._scheduler.add(prompt)
            self._wake.notify()
        return generation

    def encode(self, turn: Turn, is_disconnected: Callable[[], bool]) -> NDArray[np.int64]:
        """See `Engine.encode`."""
        with self._translated_failures():
            [codes] = self.voices.encode([turn], is_disconnected).codes or []
        encoded: NDArray[np.int64] = codes.numpy()
        return encoded

    def forget(self, fingerprint: bytes) -> None:
        """See `Engine.forget`."""
        self.voices.forget(fingerprint)

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        for began in (self._step_began, self._encoder.began):
            if began is not None and time.monotonic() - began > self._patience:
                return "the device does not answer"
        return self._failure or self._codec.failure

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        # A device that is lost or hangs must not be asked.
        device_memory = None if self.failure() else memory(self._device)
        return replace(self._stats, kv_usage=self._scheduler.kv_usage, device_memory=device_memory)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=10)
        self._encoder.close()
        self._codec.close()

    def _run(self) -> None:
        while self._await_work():
            self._step_began = time.monotonic()
            try:
                self._scheduler.step()
            except Exception as error:
                log.exception("a step failed")
                fatal, client_error = describe_failure(error)
                self._failure = fatal or self._failure
                self._scheduler.fail_running(client_error)
                if fatal:
                    self._scheduler.fail_waiting(client_error)
            self._step_began = None
        stopped = Cancelled("the server is shutting down")
        self._scheduler.fail_running(stopped)
        self._scheduler.fail_waiting(stopped)

    def _await_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._scheduler.has_work)
            return not self._closed

    @contextmanager
    def _translated_failures(self) -> Iterator[None]:
        """Turn any error into one for the client, and remember it if the device is lost."""
        try:
            yield
        except Exception as error:
            fatal, client_error = describe_failure(error)
            self._failure = fatal or self._failure
            raise client_error from error
