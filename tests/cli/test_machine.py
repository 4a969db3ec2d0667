"""What is left of disk and memory, as Linux and containers tell it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from csm.cli import machine
from tests import mount_namespaces


def test_memory_is_what_the_system_tells() -> None:
    free = machine.free_memory()
    assert free is not None
    told = psutil.virtual_memory()
    assert 0 < free <= told.total + psutil.swap_memory().total


def test_swap_counts_and_the_limit_of_a_container_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 90000 kB\nMemAvailable:   50000 kB\nSwapTotal: 20000 kB\nSwapFree:  10000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", meminfo)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.free_memory() == 60_000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.free_memory() == 60_000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert machine.free_memory() == 2000


def test_without_meminfo_all_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "missing")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_folder_that_will_be_made_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    folder = tmp_path / "to be" / "made"
    assert machine.existing(folder) == tmp_path and machine.existing(tmp_path) == tmp_path
    assert machine.free_disk(folder) == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.05)


@mount_namespaces.needed
def test_a_disk_that_cannot_be_written_has_no_room(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from csm.cli import machine; print(machine.free_disk(Path({str(tmp_path)!r})))"
    mounted = f'mount --bind "{tmp_path}" "{tmp_path}" && mount -o remount,bind,ro "{tmp_path}" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "0\n"


def test_the_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = tmp_path / "version"
    monkeypatch.setattr(machine, "NVIDIA", version)
    assert machine.nvidia_driver() is None
    for line in (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@builder)",
    ):
        version.write_text(f"{line}\nGCC version:  gcc version 12.2.0\n")
        assert machine.nvidia_driver() == "550.54.15"
