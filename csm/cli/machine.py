"""What this machine has left: disk, memory, and which NVIDIA driver."""

import os
import re
import shutil
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
NVIDIA = Path("/proc/driver/nvidia/version")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.expanduser().absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def free_disk(folder: Path) -> int:
    """Return the bytes that may still be written below a folder; 0 where nothing may."""
    there = existing(folder)
    return shutil.disk_usage(there).free if os.access(there, os.W_OK) else 0


def free_memory() -> int | None:
    """Return the bytes that a new process could take, swap included, within the limit of a container.

    Where the system tells only how much memory it has, that; where it does not tell, None.
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
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, left)


def nvidia_driver() -> str | None:
    """Return the version of the kernel's NVIDIA driver, or None."""
    found = re.search(r"Kernel Module.*?(\d+\.\d[\d.]*)", NVIDIA.read_text()) if NVIDIA.is_file() else None
    return found[1] if found else None
