"""One caller's generation: the engine's thread puts chunks in, the caller's thread takes them out."""

import queue
import threading
import time
from collections.abc import Callable, Iterator

from csm.engine.api import Chunk, Sampling
from csm.errors import Cancelled, DeadlineExceeded
from csm.model.conversation import Conversation


class Generation(Iterator[Chunk]):
    """An iterator over chunks that its reader may close at any time.

    Args:
        conversation: whose last turn is to be said.
        sampling: how.
        max_frames: at most this many.
        gone: true once the caller went away; called from the engine's thread at every frame.
        patience: longest wait for the next chunk, in seconds.
    """

    def __init__(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        gone: Callable[[], bool],
        patience: float,
    ) -> None:
        self.conversation, self.sampling, self.max_frames = conversation, sampling, max_frames
        self._gone, self._patience = gone, patience
        # Unbounded, yet never larger than the one answer: a slow reader must not hold up the batch.
        self._chunks: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        self._closed = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this any more."""
        if not self._closed.is_set() and self._gone():
            self._closed.set()
        return self._closed.is_set()

    def put(self, chunk: Chunk) -> None:
        """Hand a chunk to the reader."""
        self._chunks.put(chunk)

    def finish(self, error: BaseException | None = None) -> None:
        """No more chunks: the end, or the reason why."""
        self._chunks.put(error)

    def __next__(self) -> Chunk:
        item = self._wait()
        if isinstance(item, Chunk):
            return item
        self._closed.set()
        self._chunks.put(item)
        raise StopIteration if item is None else item

    def _wait(self) -> Chunk | BaseException | None:
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            try:
                return self._chunks.get(timeout=min(left, 0.25))
            except queue.Empty:
                # The engine polls too, but not while this waits behind others.
                if self.cancelled:
                    return Cancelled("the caller went away")
        self.close()
        return DeadlineExceeded(f"no audio within {self._patience:.0f} s: the server is too busy; try again later")

    def close(self) -> None:
        """Stop the generation at its next frame."""
        self._closed.set()
