"""The thread that turns frames into sound while the next frames are being made."""

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csm.engine.api import CHUNK_FRAMES, Chunk
from csm.engine.codec_worker import CodecDecoder, CodecStream, decode
from csm.engine.devices import describe_failure, side_stream
from csm.engine.request import Generation
from csm.errors import CsmError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """Something for one generation's reader.

    Attributes:
        generation: whose reader waits.
        stream: its codec state.
        codes: `[frames, codebooks]` to decode; None where nothing is left.
        last: whether the generation is over after this.
        error: why it is over, if not by its end.
    """

    generation: Generation
    stream: CodecStream
    codes: Tensor | None
    last: bool = False
    error: CsmError | None = None


class CodecWorker:
    """Decodes for all generations, in batches where several are due at once.

    On CUDA it works on a stream of its own, so that the codec fills the gaps of the frame loop. Libraries set
    themselves up per thread, so it decodes silence in every size of chunk before the first client's frames come.

    Args:
        decoder: Mimi's.
        codebooks: codes per frame.
        device: of the decoder.

    Attributes:
        failure: why the device is lost, or None.
    """

    def __init__(self, decoder: CodecDecoder, codebooks: int, device: torch.device) -> None:
        self._decoder, self._codebooks, self._device = decoder, codebooks, device
        self.failure: str | None = None
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sound", daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand over; returns at once."""
        self._works.put(work)

    def close(self) -> None:
        """Finish what was handed over, then stop."""
        self._works.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        side = side_stream(self._device) if self._device.type == "cuda" else None
        with torch.cuda.stream(side):
            self._warm_up()
            while (works := self._take()) is not None:
                for batch in batches(works):
                    self._decode(batch)

    def _warm_up(self) -> None:
        try:
            for frames in CHUNK_FRAMES:
                codes = torch.zeros(1, frames, self._codebooks, dtype=torch.long)
                decode(self._decoder, [CodecStream(self._decoder)], codes)
        except Exception as error:
            log.exception("the codec could not be warmed up")
            self.failure, _ = describe_failure(error)

    def _take(self) -> list[Work] | None:
        """All that is waiting, at least one; None at the end."""
        works = [self._works.get()]
        while not self._works.empty() and works[-1] is not None:
            works.append(self._works.get())
        if works[-1] is None:
            # What came before the end mark is still decoded; the mark is put back for the next turn.
            works.pop()
            if works:
                self._works.put(None)
        return [work for work in works if work is not None] or None

    def _decode(self, batch: Sequence[Work]) -> None:
        due = [work for work in batch if work.codes is not None and not work.generation.cancelled]
        try:
            results = _decoded(self._decoder, due)
        except Exception as error:
            log.exception("decoding failed")
            fatal, told = describe_failure(error)
            self.failure = fatal or self.failure
            results = [told] * len(due)
        for work, result in zip(due, results, strict=True):
            if isinstance(result, CsmError):
                work.generation.finish(result)
                work.generation.close()
            else:
                work.generation.put(result)
        for work in batch:
            if work.last:
                work.generation.finish(work.error)


def _decoded(decoder: CodecDecoder, due: Sequence[Work]) -> list[Chunk | CsmError]:
    codes = [work.codes for work in due if work.codes is not None]
    return [*decode(decoder, [work.stream for work in due], torch.stack(codes))] if due else []


def batches(works: Sequence[Work]) -> list[list[Work]]:
    """Group works that can be decoded at once: as many frames each, no stream twice, each stream in order."""
    groups: list[list[Work]] = []
    for work in works:
        latest = max((i for i, g in enumerate(groups) if any(w.stream is work.stream for w in g)), default=-1)
        frames = _frames(work)
        group = next((g for g in groups[latest + 1 :] if _frames(g[0]) == frames), None)
        if group is None:
            groups.append([work])
        else:
            group.append(work)
    return groups


def _frames(work: Work) -> int:
    return 0 if work.codes is None else len(work.codes)
