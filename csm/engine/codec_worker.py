"""The thread that turns frames into audio while the next frames are being made."""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from csm.engine.api import CHUNK_FRAMES, Chunk
from csm.engine.devices import describe_failure, side_stream, to_host
from csm.engine.request import Generation
from csm.engine.stats import EngineStats
from csm.errors import CsmError, GenerationFailed
from csm.model.mimi.transformer import State

log = logging.getLogger(__name__)


class CodecDecoder(Protocol):
    """`csm.model.mimi.decoder.MimiDecoder`, or the same in another runtime."""

    codebook_size: int

    def initial_state(self, batch: int) -> State:
        """See `MimiDecoder.initial_state`."""

    def __call__(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """See `MimiDecoder.forward`."""


class CodecStream:
    """The frames of one generation on their way to becoming audio.

    Args:
        decoder: of all streams; the state is this stream's own.
    """

    def __init__(self, decoder: CodecDecoder) -> None:
        self.state = decoder.initial_state(1)
        self._pending: list[Tensor] = []
        self._chunks = 0

    def push(self, frame: Tensor) -> Tensor | None:
        """Take one frame `[codebooks]`; return the codes `[frames, codebooks]` of a chunk once it is complete."""
        self._pending.append(frame)
        due = CHUNK_FRAMES[min(self._chunks, len(CHUNK_FRAMES) - 1)]
        return self.flush() if len(self._pending) >= due else None

    def flush(self) -> Tensor | None:
        """Return the frames that are left, however few, or None."""
        if not self._pending:
            return None
        codes = torch.stack(self._pending)
        self._pending.clear()
        self._chunks += 1
        return codes


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """Frames to decode, the end of a generation, or both.

    Attributes:
        generation: the generation that gets the audio.
        stream: its codec state.
        codes: `[frames, codebooks]`; None if there is nothing to decode.
        last: whether the generation ends with this job.
        error: why it ends, unless it ended normally.
    """

    generation: Generation
    stream: CodecStream
    codes: Tensor | None
    last: bool = False
    error: CsmError | None = None


class CodecWorker:
    """One thread that decodes for all generations, in a batch when several jobs are waiting.

    On CUDA it has a stream of its own, so that the codec fills the gaps of the frame loop. CUDA libraries initialise
    per thread and per shape, so the thread decodes silence in every chunk size before the first client's frames arrive.

    Args:
        decoder: Mimi's.
        codebooks: codes per frame.
        device: of the decoder.
        stats: statistics of the engine, to which the duration of each batch is added.

    Attributes:
        failure: why the device is lost, or None.
    """

    def __init__(self, decoder: CodecDecoder, codebooks: int, device: torch.device, stats: EngineStats) -> None:
        self._decoder, self._codebooks, self._device, self._stats = decoder, codebooks, device, stats
        self.failure: str | None = None
        self._jobs: queue.SimpleQueue[DecodeJob | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="codec", daemon=True)
        self._thread.start()

    def put(self, job: DecodeJob) -> None:
        """Hand over a job; return at once."""
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was handed over, then stop."""
        self._jobs.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        # Not `torch.cuda.stream(None)`: it asks for a current device, which fails on Macs.
        with torch.cuda.stream(side_stream(self._device)) if self._device.type == "cuda" else nullcontext():
            self._warm_up()
            while (jobs := self._take()) is not None:
                for batch in batches(jobs):
                    self._decode(batch)

    def _warm_up(self) -> None:
        try:
            for frames in CHUNK_FRAMES:
                codes = torch.zeros(1, frames, self._codebooks, dtype=torch.long)
                decode(self._decoder, [CodecStream(self._decoder)], codes)
        except Exception as error:
            log.exception("the codec could not be warmed up")
            self.failure, _ = describe_failure(error)

    def _take(self) -> list[DecodeJob] | None:
        """Wait for a job and return all that are queued, or None at the end."""
        jobs = [self._jobs.get()]
        while not self._jobs.empty() and jobs[-1] is not None:
            jobs.append(self._jobs.get())
        if jobs[-1] is None:
            # Jobs queued before the end mark are still decoded; the mark goes back for the next call.
            jobs.pop()
            if jobs:
                self._jobs.put(None)
        return [job for job in jobs if job is not None] or None

    def _decode(self, batch: Sequence[DecodeJob]) -> None:
        due: list[DecodeJob] = []
        try:
            due += [job for job in batch if job.codes is not None and not job.generation.cancelled]
            results = self._decode_due(due)
        except Exception as error:
            log.exception("decoding failed")
            fatal, client_error = describe_failure(error)
            self.failure = fatal or self.failure
            results = [client_error] * len(due)
        for job, result in zip(due, results, strict=True):
            if isinstance(result, CsmError):
                job.generation.finish(result)
                job.generation.close()
            else:
                job.generation.put(result)
        for job in batch:
            if job.last:
                job.generation.finish(job.error)

    def _decode_due(self, due: Sequence[DecodeJob]) -> list[Chunk | CsmError]:
        if not due:
            return []
        began = time.monotonic()
        codes = torch.stack([job.codes for job in due if job.codes is not None])
        results = decode(self._decoder, [job.stream for job in due], codes)
        self._stats.decode_seconds.observe(time.monotonic() - began)
        return [*results]


def batches(jobs: Sequence[DecodeJob]) -> list[list[DecodeJob]]:
    """Group jobs that can be decoded at once: as many frames each, no stream twice, each stream in order."""
    groups: list[list[DecodeJob]] = []
    for job in jobs:
        latest = max((i for i, g in enumerate(groups) if any(w.stream is job.stream for w in g)), default=-1)
        frames = _frames(job)
        group = next((g for g in groups[latest + 1 :] if _frames(g[0]) == frames), None)
        if group is None:
            groups.append([job])
        else:
            group.append(job)
    return groups


def _frames(job: DecodeJob) -> int:
    return 0 if job.codes is None else len(job.codes)


def decode(decoder: CodecDecoder, streams: Sequence[CodecStream], codes: Tensor) -> list[Chunk | GenerationFailed]:
    """Decode the next frames of several streams in one batch.

    Args:
        decoder: of all of them.
        streams: each at most once.
        codes: `[streams, frames, codebooks]`.

    Returns:
        For each stream its chunk, or why its audio is unusable; a bad stream does not affect the others.
    """
    known = (codes >= 0) & (codes < decoder.codebook_size)
    with torch.inference_mode():
        state = [torch.cat(parts) for parts in zip(*(stream.state for stream in streams), strict=True)]
        samples, state = decoder(codes.where(known, 0).mT.to(state[0].device), state)
        sound = to_host(samples.float())
        rows = zip(*(torch.chunk(tensor, len(streams)) for tensor in state), strict=True)
    for stream, row in zip(streams, rows, strict=True):
        stream.state = list(row)
    return [_checked(*parts) for parts in zip(codes, sound, known.flatten(1).all(1).tolist(), strict=True)]


def _checked(codes: Tensor, samples: Tensor, known: bool) -> Chunk | GenerationFailed:
    if not known:
        return GenerationFailed("the model produced an impossible code")
    if not bool(samples.isfinite().all()):
        return GenerationFailed("the codec produced samples that are not finite")
    return Chunk(codes.cpu().numpy().astype(np.int64), samples.numpy())
