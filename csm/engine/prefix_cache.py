"""Cache of voices: codes of the reference audio, and the KV prefix of the prompt that they make.

The second request with a voice skips both encoding and prefilling it.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from csm.errors import Cancelled
from csm.model.conversation import Turn
from csm.model.kv_cache import Prefix


@dataclass(eq=False)
class CachedVoice:
    """What is kept of a conversation's context.

    Attributes:
        codes: for each turn `[frames, codebooks]`; None until encoded.
        prefix: keys and values of all positions; None until prefilled.
        encoding: held while the codes are made.
    """

    codes: list[Tensor] | None = None
    prefix: Prefix | None = None
    encoding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """Size in bytes."""
        tensors = [*(self.codes or []), *([] if self.prefix is None else [self.prefix])]
        return sum(tensor.nbytes for tensor in tensors)


class PrefixCache:
    """Voices up to a size in bytes, of which the least recently used are evicted. Thread-safe.

    A voice in use may be evicted: its users hold references, and it is freed when they are done.

    Args:
        capacity: in bytes; 0 keeps nothing.
        encode: makes the codes of one turn; given `is_disconnected` too, so that it need not wait in vain.
    """

    def __init__(self, capacity: int, encode: Callable[[Turn, Callable[[], bool]], Tensor]) -> None:
        self._capacity, self._encode = capacity, encode
        self._lock = threading.Lock()
        self._voices: OrderedDict[bytes, CachedVoice] = OrderedDict()

    def get(self, context: Sequence[Turn], is_disconnected: Callable[[], bool] = lambda: False) -> CachedVoice:
        """Return the voice of a context, encoded; encode it once however many threads ask at the same time.

        Raises:
            Cancelled: `is_disconnected()` was true while this waited.
        """
        key = _fingerprint(context)
        with self._lock:
            voice = self._voices.setdefault(key, CachedVoice())
            self._voices.move_to_end(key)
        while not voice.encoding.acquire(timeout=0.25):
            if is_disconnected():
                raise Cancelled("the client disconnected")
        try:
            if voice.codes is None:
                voice.codes = [self._encode(turn, is_disconnected) for turn in context]
        except Exception:
            # Without codes it has no size, so `trim` would never evict it.
            with self._lock:
                self._voices.pop(key, None)
            raise
        finally:
            voice.encoding.release()
        self.trim()
        return voice

    def trim(self) -> None:
        """Evict voices until the rest fits; call it when a voice has grown."""
        with self._lock:
            while self._voices and self.size > self._capacity:
                self._voices.popitem(last=False)

    @property
    def size(self) -> int:
        """Size of all voices in bytes."""
        return sum(voice.size for voice in self._voices.values())

    def __len__(self) -> int:
        return len(self._voices)


def _fingerprint(context: Sequence[Turn]) -> bytes:
    """Hash everything that the prefix depends on, each part behind its length."""
    digest = hashlib.blake2b(digest_size=20)
    for turn in context:
        samples = b"" if turn.audio is None else turn.audio.samples.tobytes()
        for part in (turn.role.encode(), turn.text.encode(), samples):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.digest()
