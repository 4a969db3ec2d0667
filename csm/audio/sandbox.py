"""Sandbox for a program that parses untrusted bytes: no files, bounded memory and time, no process left behind."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

# `ulimit` and `exec` in a shell: the limits must hold from the program's first instruction. A preexec_fn would do that
# too, but it forks a threaded server, which is unsafe, and copies its page tables: 130 ms with 3 GB resident instead of
# 1 ms. `resource.prlimit` after the start leaves a gap. A limit that is already stricter stays.
_LIMITED = 'ulimit -v {kib}; ulimit -t {cpu}; ulimit -f 0; ulimit -c 0; ulimit -n 16; exec "$@"'

# By default each thread reserves 64 MB of address space, for a moment 128, and whether the limit is exceeded depends on
# the timing of ffmpeg's threads: on a busy machine, a few of thousands of good files were refused as damaged.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}

_HAS_MEMFD = hasattr(os, "memfd_create")

_NICER = 5
"""Running streams and short requests come first: several decoders at once would leave them a fraction of a core. On a
busy machine a decoder gets a quarter of one."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        output_bytes: of standard output.
        memory_bytes: of address space, of which ffmpeg's code and threads need about 230 MB.
        cpu_seconds: of processor time.
        wall_seconds: from start to exit.
    """

    output_bytes: int
    memory_bytes: int = 512 << 20
    cpu_seconds: int = 8
    wall_seconds: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        output: standard output, at most one byte more than allowed; writable and not shared.
        returncode: as in `subprocess`: negative for a signal, 126 or 127 if the program cannot be started.
        timed_out: the wall-clock limit was reached, because it hung or the machine is busy.
        exhausted: the limit of processor time was reached, or the kernel killed it for memory.
        overflowed: there was more output than allowed.
    """

    output: memoryview
    returncode: int
    timed_out: bool
    exhausted: bool
    overflowed: bool


def run(command: Sequence[str], data: bytes, limits: Limits) -> Outcome:
    """Run `command` with `data` as a seekable standard input, and leave no process behind.

    The environment is empty but for malloc's settings, and standard error is dropped because it quotes the input. The
    program leads a session of its own, which is killed as a whole when the program ends or exceeds a limit.
    """
    with _as_file(data) as stdin:
        process = subprocess.Popen(
            _limited(command, limits),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        _give_way(process)
        return _supervise(process, limits)


def _limited(command: Sequence[str], limits: Limits) -> list[str]:
    if os.name != "posix":
        return list(command)
    script = _LIMITED.format(kib=limits.memory_bytes >> 10, cpu=limits.cpu_seconds)
    return ["/bin/sh", "-c", script, "sh", *command]


def _give_way(process: subprocess.Popen[bytes]) -> None:
    """Lower the priority of the process if that is possible."""
    if os.name != "posix":
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICER)
    # Linux may divide the processor among sessions first, and apply priorities only within each.
    with suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(_NICER))


@contextmanager
def _as_file(data: bytes) -> Iterator[IO[bytes]]:
    """Open a seekable file of `data`: in memory on Linux; without memfd, an unnamed temporary file."""
    with os.fdopen(os.memfd_create("upload"), "w+b") if _HAS_MEMFD else tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def _supervise(process: subprocess.Popen[bytes], limits: Limits) -> Outcome:
    assert process.stdout is not None
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(limits.wall_seconds, expire)
    timer.start()
    try:
        output = _read(process.stdout, limits.output_bytes + 1)
        overflowed = len(output) > limits.output_bytes
        if not overflowed:
            _await_exit(process)
    finally:
        timer.cancel()
        timer.join()
        _kill(process)
        process.stdout.close()
        returncode = process.wait()
    timed_out = expired.is_set()
    return Outcome(output, returncode, timed_out, _killed(returncode) and not timed_out and not overflowed, overflowed)


def _read(pipe: IO[bytes], max_bytes: int) -> memoryview:
    """Read into one buffer, of which only the used part takes memory; `read` would collect pieces and join them."""
    buffer = np.empty(max_bytes, np.uint8).data
    count: int = pipe.readinto(buffer)  # type: ignore[attr-defined]
    return buffer[:count]


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait without reaping: its process id cannot be reused meanwhile, so that killing it is safe."""
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session. A leader that has exited keeps its exit status."""
    if process.returncode is not None:
        return
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _killed(returncode: int) -> bool:
    """Return whether the kernel killed it; at the limit of processor time it sends SIGKILL or SIGXCPU."""
    return os.name == "posix" and returncode in (-signal.SIGKILL, -signal.SIGXCPU)
