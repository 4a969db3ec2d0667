"""Caches of keys and values: those of voices, shared by all requests, and those of a conversation so far.

The second request with a voice skips both encoding and prefilling it. The second segment of a text, and the second turn
of a dialogue, skip prefilling what was said before.
"""

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from csm.engine.stats import EngineStats
from csm.errors import Cancelled
from csm.model.conversation import Turn
from csm.model.kv_cache import Prefix

CONVERSATIONS_SHARE = 0.75
"""Share of the capacity that conversations may take. The rest is left to voices, which are also encoded again if they
have been evicted."""

MAX_VOICES = 1000
"""So that their sizes are added up quickly; a voice of which only codes are kept takes a few kilobytes."""

_Key = tuple[tuple[bytes, bytes], ...]


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


class ConversationPrefix:
    """Keys and values of the latest generation of one conversation, which the next generation may begin with.

    Create an empty one for a conversation and pass it to each `Engine.generate`. Any prompt can use as much of it as
    they have in common: keys and values depend only on the positions before.
    """

    def __init__(self) -> None:
        self.clear()

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._prefix.nbytes

    def put(self, rows: Tensor, prefix: Prefix) -> None:
        """Keep the keys and values of the positions that `rows` (`csm.engine.prefill.Prompt.rows`) describe."""
        self._rows, self._prefix = rows, prefix

    def clear(self) -> None:
        """Keep nothing."""
        self._rows, self._prefix = torch.zeros(0), torch.zeros(0)

    def common(self, rows: Tensor) -> Prefix | None:
        """Return the keys and values of the positions that begin `rows` as well."""
        length = min(len(rows), len(self._rows))
        same = int((rows[:length] == self._rows[:length]).all(dim=-1).cumprod(dim=0).sum()) if length else 0
        return self._prefix[:, :, :same] if same else None


class PrefixCache:
    """At most `MAX_VOICES`, up to a size in bytes, of which the least recently used are evicted. Thread-safe.

    A voice in use may be evicted: its users hold references, and it is freed when they are done. What conversations
    keep counts as well.

    Args:
        capacity: in bytes; 0 keeps nothing.
        encode: makes the codes of one turn; given `is_disconnected` too, so that it need not wait in vain.
        stats: statistics of the engine, in which look-ups are counted.
    """

    def __init__(self, capacity: int, encode: Callable[[Turn, Callable[[], bool]], Tensor], stats: EngineStats) -> None:
        self._capacity, self._encode, self._stats = capacity, encode, stats
        self._lock = threading.Lock()
        self._voices: OrderedDict[_Key, CachedVoice] = OrderedDict()
        self._conversations: weakref.WeakSet[ConversationPrefix] = weakref.WeakSet()

    def get(self, context: Sequence[Turn], is_disconnected: Callable[[], bool] = lambda: False) -> CachedVoice:
        """Return the voice of a context with its codes; see `encode`."""
        voice = self.encode(context, is_disconnected)
        with self._lock:
            self._stats.voice_queries += 1
            self._stats.voice_hits += voice.prefix is not None
        return voice

    def encode(self, context: Sequence[Turn], is_disconnected: Callable[[], bool] = lambda: False) -> CachedVoice:
        """Return the voice of a context with its codes, without counting a look-up of its keys and values.

        Turns that have codes are not encoded; the others once, however many threads ask at the same time.

        Raises:
            Cancelled: `is_disconnected()` was true while this waited.
        """
        key = tuple(_fingerprint(turn) for turn in context)
        with self._lock:
            voice = self._voices.setdefault(key, CachedVoice())
            self._voices.move_to_end(key)
        while not voice.encoding.acquire(timeout=0.25):
            if is_disconnected():
                raise Cancelled("the client disconnected")
        try:
            if voice.codes is None:
                voice.codes = [self._codes(turn, is_disconnected) for turn in context]
        except Exception:
            # Without codes it has no size, so `trim` would never evict it.
            with self._lock:
                self._voices.pop(key, None)
            raise
        finally:
            voice.encoding.release()
        self.trim()
        return voice

    def forget(self, fingerprint: bytes) -> None:
        """Remove every voice with reference audio of this fingerprint."""
        with self._lock:
            for key in [key for key in self._voices if any(audio == fingerprint for _, audio in key)]:
                del self._voices[key]

    def keep(self, conversation: ConversationPrefix, rows: Tensor, save: Callable[[], Prefix]) -> None:
        """Keep the keys and values of a conversation, if there is room for them.

        Args:
            conversation: to keep them in, instead of what it has.
            rows: see `ConversationPrefix.put`.
            save: copies the keys and values.
        """
        conversation.clear()
        try:
            conversation.put(rows, save())
        except torch.OutOfMemoryError:
            return
        with self._lock:
            self._conversations.add(conversation)
            if self._conversations_size > CONVERSATIONS_SHARE * self._capacity:
                conversation.clear()
        self.trim()

    def trim(self) -> None:
        """Evict voices until the rest fits; call it when a voice has grown."""
        with self._lock:
            while len(self) > MAX_VOICES or (self._voices and self.size + self._conversations_size > self._capacity):
                self._voices.popitem(last=False)

    @property
    def size(self) -> int:
        """Size of all voices in bytes."""
        return sum(voice.size for voice in self._voices.values())

    @property
    def _conversations_size(self) -> int:
        return sum(conversation.size for conversation in self._conversations)

    def __len__(self) -> int:
        return len(self._voices)

    def _codes(self, turn: Turn, is_disconnected: Callable[[], bool]) -> Tensor:
        return self._encode(turn, is_disconnected) if turn.codes is None else torch.from_numpy(turn.codes)


def _fingerprint(turn: Turn) -> tuple[bytes, bytes]:
    """Return a hash of a turn's role and text, and one of its audio.

    Codes that were given do not count: whoever gives them has made them of the same audio.
    """
    role, text = turn.role.encode(), turn.text.encode()
    words = hashlib.blake2b(len(role).to_bytes(8, "little") + role + text, digest_size=20)
    return words.digest(), b"" if turn.audio is None else turn.audio.fingerprint
