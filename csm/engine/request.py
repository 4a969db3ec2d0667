"""One request in the engine: the engine's threads put chunks in, the client's thread takes them out."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context

from csm.engine.api import Chunk, Sampling
from csm.engine.prefix_cache import ConversationPrefix
from csm.errors import Cancelled, DeadlineExceeded
from csm.model.conversation import Conversation


class Generation(Iterator[Chunk]):
    """An iterator over chunks that its reader may close at any time.

    Args:
        conversation: whose last turn is generated.
        sampling: how codes are drawn.
        max_frames: at which it ends.
        is_disconnected: whether the client has disconnected; called from the engine's thread at every frame.
        patience: longest wait for the next chunk, in seconds; None for no limit.
        cache: of the conversation; None to keep nothing.

    Attributes:
        is_cut: see `ChunkStream.is_cut`; set by the engine.
        context: of the client's thread; `context.run(log.error, …)` logs with the id of the request.
    """

    def __init__(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        patience: float | None,
        cache: ConversationPrefix | None = None,
    ) -> None:
        self.conversation, self.sampling, self.max_frames = conversation, sampling, max_frames
        self.cache = cache
        self._is_disconnected, self._patience = is_disconnected, patience
        self.is_cut = False
        self.context = copy_context()
        # Unbounded, yet never larger than the one answer: a slow reader must not hold up the batch.
        self._chunks: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        self._closed = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether it was closed or its client has disconnected."""
        if not self._closed.is_set() and self._is_disconnected():
            self._closed.set()
        return self._closed.is_set()

    def put(self, chunk: Chunk) -> None:
        """Hand a chunk to the reader."""
        self._chunks.put(chunk)

    def finish(self, error: BaseException | None = None) -> None:
        """Tell the reader that no more chunks come, and why if it is not the regular end."""
        self._chunks.put(error)

    def __next__(self) -> Chunk:
        item = self._wait()
        if isinstance(item, Chunk):
            return item
        self._closed.set()
        self._chunks.put(item)
        raise StopIteration if item is None else item

    def _wait(self) -> Chunk | BaseException | None:
        deadline = float("inf") if self._patience is None else time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            try:
                return self._chunks.get(timeout=min(left, 0.25))
            except queue.Empty:
                # The engine polls only the running requests; this one may be waiting for its slot.
                if self.cancelled:
                    return Cancelled("the client disconnected")
        self.close()
        return DeadlineExceeded(f"no audio within {self._patience:.0f} s: the server is too busy; try again later")

    def close(self) -> None:
        """Stop the generation at its next frame."""
        self._closed.set()
