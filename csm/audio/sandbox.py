"""Run a program that parses bytes from strangers: no files, little memory, little time, no way to linger."""

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

# `ulimit` and `exec` in a shell, since limits must hold from the program's first instruction. A preexec_fn would
# too, but it forks a threaded server (unsafe) and copies its page tables: 130 ms with 3 GB resident against 1 ms
# for the shell. `resource.prlimit` after the start leaves a gap. A limit that is already stricter stays.
_LIMITED = 'ulimit -v {kib}; ulimit -t {cpu}; ulimit -f 0; ulimit -c 0; ulimit -n 16; exec "$@"'

# By default each thread reserves 64 MB of addresses, for a moment 128, and whether the limit was met was up to how the
# threads of ffmpeg took turns: of thousands of good samples on a busy machine, a few were refused as damaged.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}

_HAS_MEMFD = hasattr(os, "memfd_create")

_NICER = 5
"""Running streams and short answers come first; several samples at once would leave them a fraction of a processor.
On a busy machine a quarter of one is left for a sample."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        output_bytes: of standard output.
        memory_bytes: of address space; ffmpeg's own code and threads need about 230 MB of it.
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
        output: standard output, at most one byte more than allowed; writable, and nobody else's.
        returncode: as `subprocess` gives it; negative is a signal, 126 and 127 a program that cannot be started.
        timed_out: the wall clock ran out: it hung, or the machine had other things to do.
        exhausted: its processor time ran out (or the kernel killed it for memory).
        overflowed: there was more output than allowed.
    """

    output: memoryview
    returncode: int
    timed_out: bool
    exhausted: bool
    overflowed: bool


def run(command: Sequence[str], data: bytes, limits: Limits) -> Outcome:
    """Run `command` with `data` as a seekable standard input, and leave no process behind.

    The environment tells nothing, standard error is dropped (it quotes the input), and the program leads a session of
    its own, killed as a whole when it ends or runs out of time or room.
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
    """Lower its priority where that is possible."""
    if os.name != "posix":
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICER)
    # Linux may share the processor by sessions first, and heed priorities only within each.
    with suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(_NICER))


@contextmanager
def _as_file(data: bytes) -> Iterator[IO[bytes]]:
    """A seekable file of `data`: in memory on Linux; elsewhere an unnamed temporary file, for want of memfd."""
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


def _read(pipe: IO[bytes], most: int) -> memoryview:
    """Into one buffer, of which only what is written takes memory; `read` would collect pieces and then join them."""
    buffer = np.empty(most, np.uint8).data
    count: int = pipe.readinto(buffer)  # type: ignore[attr-defined]
    return buffer[:count]


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait without reaping: while the leader is unreaped its number cannot be another process's, so kills are safe."""
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session, the leader's children included. A leader that has exited keeps its exit status."""
    if process.returncode is not None:
        return
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _killed(returncode: int) -> bool:
    """Whether the kernel ended it: at the limit of processor time with SIGKILL, which no handler can put off."""
    return os.name == "posix" and returncode in (-signal.SIGKILL, -signal.SIGXCPU)
