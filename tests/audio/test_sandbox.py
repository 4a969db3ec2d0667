import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from csm.audio.sandbox import Limits, run
from tests.polling import wait_until
from tests.process_probes import children, descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
ROOM = Limits(output_bytes=1_000_000)


def shell(script, limits=ROOM, data=b""):
    return run(["/bin/sh", "-c", script], data, limits)


def python(program, limits=ROOM, data=b""):
    return run([sys.executable, "-I", "-c", program], data, limits)


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; one that init adopted may be a zombie still."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.fixture(autouse=True)
def nothing_left():
    before = children(), descriptors()
    yield
    assert (children(), descriptors()) == before


def test_input_is_seekable_and_output_comes_back():
    program = "import os; os.lseek(0, -3, 2); os.write(1, os.read(0, 9)); os.lseek(0, 0, 0); os.write(1, os.read(0, 2))"
    assert python(program, data=b"0123456789").output == b"78901"


def test_limits_hold_from_the_first_instruction():
    limits = Limits(output_bytes=999, memory_bytes=300 << 20, cpu_seconds=3)
    answer = bytes(shell("ulimit -v; ulimit -t; ulimit -f; ulimit -c; ulimit -n", limits).output)
    assert answer.split() == [b"307200", b"3", b"0", b"0", b"16"]


def test_the_environment_of_the_server_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("CSM_API_KEYS", "a-secret")
    inherited = bytes(python("import os; os.write(1, open('/proc/self/environ', 'rb').read())").output)
    assert b"a-secret" not in inherited
    assert not {line.split(b"=")[0] for line in inherited.split(b"\0") if line} - {b"PWD", b"MALLOC_ARENA_MAX"}


def test_the_program_leads_a_session_of_its_own():
    assert int(python("import os; print(os.getsid(0) == os.getpid())").output == b"True\n")


def test_the_program_has_a_lower_priority_than_the_server():
    nice, *group = bytes(shell("sleep 0.2; nice; cat /proc/self/autogroup 2>/dev/null").output).splitlines()
    assert int(nice) == min(19, os.nice(0) + 5)
    # Without CAP_SYS_ADMIN, the kernel lets this be set only ten times a second.
    assert all(line.endswith((b"nice 5", b"nice 0")) for line in group)


def test_the_program_inherits_no_descriptor_of_the_server(tmp_path):
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        listed = python("import os; print(sorted(os.listdir('/proc/self/fd')))").output
    assert listed == b"['0', '1', '2', '3']\n", "3 is the listing itself"


def test_the_program_cannot_write_to_a_file(tmp_path):
    outcome = shell(f"exec cat > {tmp_path}/written", data=b"x" * 100)
    assert outcome.returncode == -signal.SIGXFSZ
    assert (tmp_path / "written").stat().st_size == 0


def test_the_program_cannot_take_more_memory_than_allowed():
    outcome = python("bytearray(600 << 20)")
    assert outcome.returncode == 1 and not (outcome.timed_out or outcome.exhausted)


def test_endless_output_is_cut_off():
    outcome = shell("exec yes", Limits(output_bytes=1000))
    assert outcome.overflowed and len(outcome.output) == 1001


def test_output_of_exactly_the_limit_is_complete():
    outcome = shell("printf 12345", Limits(output_bytes=5))
    assert (outcome.output, outcome.returncode, outcome.overflowed) == (b"12345", 0, False)


def test_a_program_that_hangs_is_killed_at_the_wall_limit():
    outcome = shell("exec sleep 60", Limits(output_bytes=9, wall_seconds=0.3))
    assert outcome.timed_out and not outcome.exhausted and outcome.returncode == -signal.SIGKILL


def test_a_program_that_hangs_after_closing_its_output_is_killed():
    assert shell("exec >&-; exec sleep 60", Limits(output_bytes=9, wall_seconds=0.3)).timed_out


def test_a_busy_loop_is_killed_at_the_processor_limit():
    outcome = shell("while :; do :; done", Limits(output_bytes=9, cpu_seconds=1, wall_seconds=120))
    assert outcome.exhausted and not outcome.timed_out and outcome.returncode in (-signal.SIGKILL, -signal.SIGXCPU)


@pytest.mark.parametrize("script", ["sleep 60 & echo $!; exec sleep 60", "sleep 60 & echo $!"])
def test_its_children_are_killed_at_the_wall_limit(script):
    outcome = shell(script, Limits(output_bytes=99, wall_seconds=0.5))
    assert outcome.timed_out
    wait_until(lambda: has_ended(int(outcome.output)))


def test_its_children_in_the_background_are_killed_when_it_exits():
    outcome = shell("sleep 60 > /dev/null & echo $!")
    assert not outcome.timed_out
    wait_until(lambda: has_ended(int(outcome.output)))


def test_the_exit_status_is_returned():
    assert shell("exit 7").returncode == 7
    assert shell("kill -SEGV $$").returncode == -signal.SIGSEGV


def test_a_program_that_does_not_exist_exits_with_127():
    assert run(["/nonexistent/program"], b"", ROOM).returncode == 127


def test_many_threads_run_at_once():
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda n: shell("cat", data=b"%d" % n), range(64)))
    assert [outcome.output for outcome in outcomes] == [b"%d" % n for n in range(64)]


def test_without_memfd_the_input_is_an_unnamed_file(monkeypatch, tmp_path):
    monkeypatch.setattr("csm.audio.sandbox._HAS_MEMFD", False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = "import os; os.lseek(0, 2, 0); os.write(1, os.read(0, 9) + os.readlink('/proc/self/fd/0').encode())"
    output = bytes(python(program, data=b"0123").output)
    assert output.startswith(b"23" + bytes(tmp_path)) and output.endswith(b"(deleted)")
    assert not list(tmp_path.iterdir())
