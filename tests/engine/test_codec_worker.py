"""The codec's thread is set up before the first client's frames come."""

import threading
from typing import Any

import torch

from csm.engine.api import CHUNK_FRAMES
from csm.engine.codec_worker import CodecWorker
from csm.engine.runtimes.torch import TorchRuntime
from csm.engine.stats import EngineStats
from tests.polling import wait_until

CPU = torch.device("cpu")


class Recorder:
    """Mimi's decoder, recording the thread and the frames of each call."""

    def __init__(self, decoder: Any, error: Exception | None = None) -> None:
        self._decoder, self._error = decoder, error
        self.codebook_size = decoder.codebook_size
        self.calls: list[tuple[str, int]] = []

    def initial_state(self, batch: int) -> Any:
        return self._decoder.initial_state(batch)

    def __call__(self, codes: Any, state: Any) -> Any:
        self.calls.append((threading.current_thread().name, codes.shape[-1]))
        if self._error is not None:
            raise self._error
        return self._decoder(codes, state)


def test_the_thread_decodes_every_size_of_chunk_once_before_it_serves(runtime: TorchRuntime) -> None:
    decoder = Recorder(runtime.decoder)
    worker = CodecWorker(decoder, runtime.codebooks, CPU, EngineStats())
    worker.close()
    assert decoder.calls == [("codec", frames) for frames in CHUNK_FRAMES]
    assert worker.failure is None


def test_a_device_lost_during_the_warm_up_is_reported(runtime: TorchRuntime) -> None:
    decoder = Recorder(runtime.decoder, RuntimeError("CUDA error: an illegal memory access was encountered"))
    worker = CodecWorker(decoder, runtime.codebooks, CPU, EngineStats())
    wait_until(lambda: worker.failure)
    assert worker.failure is not None and "device is lost" in worker.failure
    worker.close()
