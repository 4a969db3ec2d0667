"""How memory is kept: by glibc's malloc, and by Python's collector of garbage."""

import contextlib
import ctypes
import gc
import os
import sys

ARENAS = 2
"""Heaps that threads share; by default each thread gets one, and keeps there what it has freed."""

LARGE = 4 << 20
"""Bytes from which a block is mapped by itself and goes back to the kernel when it is freed.

By default the border rises with every large block that is freed, so that what one sample took stays for good. With
1 MB, turning frames into sound at full size took 80 ms instead of 46.
"""

SPARE = 8 << 20
"""Bytes that a heap may keep free at its end. By default it gives back all but 128 kB, only to ask the kernel again for
the next frame or upload, and each page costs a fault: to take in a sample of a megabyte took a quarter longer.
"""

# From glibc's malloc.h, with the variables of the environment that have the last word.
M_ARENA_MAX = -8, "MALLOC_ARENA_MAX"
M_MMAP_THRESHOLD = -3, "MALLOC_MMAP_THRESHOLD_"
M_TRIM_THRESHOLD = -1, "MALLOC_TRIM_THRESHOLD_"


def keep_small() -> None:
    """Keep less memory than a server that decodes samples would otherwise: some 300 MB, growing for hours.

    Call it before there are threads. Other C libraries than glibc are left alone.
    """
    if sys.platform != "linux":
        return
    for (parameter, variable), value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, SPARE)):
        if variable not in os.environ:
            with contextlib.suppress(AttributeError):
                ctypes.CDLL(None).mallopt(parameter, value)


def trim() -> None:
    """Give back what is free now, but for the spare: after loading, that is a lot."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(SPARE)


def settle() -> None:
    """Once everything is loaded: give back what is free, and keep the rest out of the garbage collector's way.

    The modules and graphs of a loaded model are half a million objects. To look through them all, as Python does every
    so often, stopped every thread for 0.2 s: two frames of each stream, and more than a refusal may take.
    """
    gc.collect()
    gc.freeze()
    trim()
