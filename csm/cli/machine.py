"""Find out the free disk space, the free memory and the NVIDIA driver of this machine."""

import os
import re
import shutil
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
NVIDIA = Path("/proc/driver/nvidia/version")


def existing(folder: Path) -> Path:
    """Return the folder if it exists, else its nearest parent that does."""
    folder = folder.expanduser().absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def free_disk(folder: Path) -> int:
    """Return how many bytes can still be written below a folder; 0 if it is not writable."""
    there = existing(folder)
    return shutil.disk_usage(there).free if os.access(there, os.W_OK) else 0


def free_memory() -> int | None:
    """Return how many bytes a new process could allocate, including swap, within the limit of a container.

    On systems that report only the total memory, return that; None if the system reports neither.
    """
    if MEMINFO.is_file():
        lines = re.findall(r"^(?:MemAvailable|SwapFree):\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
        free = 1024 * sum(map(int, lines))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return None
    try:
        limit, used = (CGROUP / name for name in ("memory.max", "memory.current"))
        left = int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # not in a container, or in one without a limit ("max")
        return free
    return min(free, left)


def nvidia_driver() -> str | None:
    """Return the version of the NVIDIA kernel driver, or None if there is none."""
    found = re.search(r"Kernel Module.*?(\d+\.\d[\d.]*)", NVIDIA.read_text()) if NVIDIA.is_file() else None
    return found[1] if found else None
