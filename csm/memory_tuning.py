"""Tuning of glibc's malloc and of Python's garbage collector."""

import contextlib
import ctypes
import gc
import os
import sys

ARENAS = 2
"""Malloc arenas, shared by all threads; by default there is one per thread, each with free memory of its own."""

LARGE = 4 << 20
"""Bytes from which a block is mapped by itself and returns to the kernel when it is freed.

By default this threshold grows with every large block that is freed, so that the memory of one upload stays for good.
With 1 MB, decoding frames at full size took 80 ms instead of 46.
"""

SPARE = 8 << 20
"""Bytes that an arena may keep free at its end. By default it returns all but 128 kB to the kernel and asks for them
again for the next frame or upload, with a fault for each page: receiving a megabyte took a quarter longer.
"""

# From glibc's malloc.h, with the environment variables that take precedence.
M_ARENA_MAX = -8, "MALLOC_ARENA_MAX"
M_MMAP_THRESHOLD = -3, "MALLOC_MMAP_THRESHOLD_"
M_TRIM_THRESHOLD = -1, "MALLOC_TRIM_THRESHOLD_"


def configure_malloc() -> None:
    """Configure malloc so that a server does not keep some 300 MB of freed memory, growing for hours.

    Call it before threads are started. C libraries other than glibc are left alone.
    """
    if sys.platform != "linux":
        return
    for (parameter, variable), value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, SPARE)):
        if variable not in os.environ:
            with contextlib.suppress(AttributeError):
                ctypes.CDLL(None).mallopt(parameter, value)


def trim() -> None:
    """Return free memory to the kernel, except `SPARE`; after loading a model, that is a lot."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(SPARE)


def freeze_gc() -> None:
    """Exclude everything that exists now from garbage collection; call it once the model is loaded.

    The modules and graphs of a loaded model are half a million objects. A full collection of them stopped every thread
    for 0.2 s, which is more than two frames of each stream.
    """
    gc.collect()
    gc.freeze()
    trim()
