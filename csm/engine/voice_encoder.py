"""The thread that turns reference audio into codes while frames of others are being made."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext

import torch
from torch import Tensor

from csm.engine.devices import side_stream, to_host
from csm.engine.runtimes.base import Runtime
from csm.engine.stats import EngineStats
from csm.errors import Cancelled
from csm.model.conversation import Turn


class VoiceEncoder:
    """Encodes one voice at a time, on CUDA on a stream of its own.

    On the frame loop's stream each frame would wait for the whole encoder; in a thread for each client, libraries would
    set themselves up anew for each.

    Args:
        runtime: the model on its device, whose encoder is used.
        device: of the runtime.
        stats: statistics of the engine, to which the duration of each voice is added.

    Attributes:
        began: when the voice that is being encoded was begun, on the monotonic clock, or None.
    """

    def __init__(self, runtime: Runtime, device: torch.device, stats: EngineStats) -> None:
        self._runtime, self._stats = runtime, stats
        self._stream = side_stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "voices")
        self.began: float | None = None

    def encode(self, turn: Turn, is_disconnected: Callable[[], bool] = lambda: False) -> Tensor:
        """Return the codes `[frames, codebooks]` of a turn that has audio, on the CPU; wait for other voices first.

        Raises:
            ValueError: the turn has no audio.
            Cancelled: `is_disconnected()` was true while this waited.
        """
        if turn.audio is None:
            raise ValueError("only a turn that was heard can be encoded")
        encoding = self._thread.submit(self._encode, torch.from_numpy(turn.audio.samples))
        while not wait([encoding], timeout=0.25).done:
            if is_disconnected():
                encoding.cancel()
                raise Cancelled("the client disconnected")
        return encoding.result()

    def close(self) -> None:
        """Finish the voice that is being encoded, then stop."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _encode(self, samples: Tensor) -> Tensor:
        self.began = began = time.monotonic()
        try:
            codes = self._encode_on_stream(samples)
        finally:
            self.began = None
        self._stats.encode_seconds.observe(time.monotonic() - began)
        return codes

    def _encode_on_stream(self, samples: Tensor) -> Tensor:
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            # The copy waits for the stream: whoever reads the codes need not know of it.
            return to_host(self._runtime.encode(samples))
