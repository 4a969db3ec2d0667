"""Voices already heard: their codes and their part of the prompt, kept so that a second request skips both."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from csm.model.conversation import Turn
from csm.model.kv_cache import Prefix


@dataclass(eq=False)
class CachedVoice:
    """What the engine keeps of a conversation's context.

    Attributes:
        codes: per turn `[frames, codebooks]`; None until encoded.
        prefix: keys and values of all its positions; None until prefilled.
    """

    codes: list[Tensor] | None = None
    prefix: Prefix | None = None
    encoding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """In bytes."""
        tensors = [*(self.codes or []), *([] if self.prefix is None else [self.prefix])]
        return sum(tensor.nbytes for tensor in tensors)


class PrefixCache:
    """Least recently used voices go first once the bytes are spent. Thread-safe.

    A voice in use may be evicted: its users hold it, and it is freed when they are done.

    Args:
        capacity: in bytes; 0 keeps nothing.
        encode: samples of one turn to codes.
    """

    def __init__(self, capacity: int, encode: Callable[[Turn], Tensor]) -> None:
        self._capacity, self._encode = capacity, encode
        self._lock = threading.Lock()
        self._voices: OrderedDict[bytes, CachedVoice] = OrderedDict()

    def get(self, context: Sequence[Turn]) -> CachedVoice:
        """The state of a context, encoded once however many ask for it at the same time."""
        key = _fingerprint(context)
        with self._lock:
            voice = self._voices.setdefault(key, CachedVoice())
            self._voices.move_to_end(key)
        try:
            with voice.encoding:
                if voice.codes is None:
                    voice.codes = [self._encode(turn) for turn in context]
        except Exception:
            # It has no size yet, so nothing else would ever forget it.
            with self._lock:
                self._voices.pop(key, None)
            raise
        self.trim()
        return voice

    def trim(self) -> None:
        """Forget the voices used longest ago until the rest fits; call it when a voice has grown."""
        with self._lock:
            while self._voices and self.size > self._capacity:
                self._voices.popitem(last=False)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(voice.size for voice in self._voices.values())

    def __len__(self) -> int:
        return len(self._voices)


def _fingerprint(context: Sequence[Turn]) -> bytes:
    """Of everything that the prefix depends on; lengths keep neighbouring fields apart."""
    digest = hashlib.blake2b(digest_size=20)
    for turn in context:
        samples = b"" if turn.audio is None else turn.audio.samples.tobytes()
        for part in (turn.role.encode(), turn.text.encode(), samples):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.digest()
