"""What clients send stays in memory: it is in no file, no log and no answer of the real server, whatever goes wrong."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import process_probes, raw_http
from tests.corpus.ffmpeg import encode, speech_wav
from tests.real_server import RealServer, clone_request, real_server
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = pytest.mark.slow

CANARY = "canary7f3e9a"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of everything that the server could write to: its home, working and temporary folders."""
    home = tmp_path_factory.mktemp("home")
    for name in ("temporary", "work", "cache"):
        (home / name).mkdir()
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[RealServer]:
    surroundings = {"HOME": str(home), "TMPDIR": str(home / "temporary"), "XDG_CACHE_HOME": str(home / "cache")}
    keys: dict[str, Any] = {"api_keys": f"secret,{CANARY}", "max_upload_mb": 12}
    with real_server(home / "work", environment=surroundings, log_level="DEBUG", slots=1, **keys) as server:
        server.assert_serves()
        yield server


def requests() -> Iterator[bytes]:
    """Yield valid requests and requests that fail at each stage, with the canary in all that a client can set."""
    tagged = encode("-metadata", f"title={CANARY}", suffix=".flac", source=speech_wav())
    assert CANARY.encode() in tagged
    files = [tagged, VOICE.read_bytes(), tagged[:9000], CANARY.encode() * 99, synthetic_speech(0.4), bytes(2_000_000)]
    files.append(synthetic_speech(100, seed=5))
    for content in files:
        yield clone_request(content, f"{CANARY}.wav", text=f"Say {CANARY}.", transcript=f"It was {CANARY}.")
    for name in ("seed", "top_k", "stream", "consent", CANARY):
        yield clone_request(**{name: CANARY})
    yield clone_request(text="<|AUDIO|>", transcript=CANARY)
    yield clone_request(text=CANARY * 999)
    body = clone_request().partition(b"\r\n\r\n")[2]
    yield raw_http.post(body[:-200].replace(b"voice.webm", CANARY.encode()))


def with_canary_key(request: bytes) -> bytes:
    return request.replace(b"X-API-Key: secret", b"X-API-Key: " + CANARY.encode())


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and modification time of each file."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and path.name != "server.log":
            found[path] = status.st_size, status.st_mtime_ns
    return found


def written(pid: int) -> int:
    """Return the bytes that a process and its ended children have written to disks."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def test_no_file_is_written_and_no_answer_repeats_the_request(server: RealServer, home: Path) -> None:
    folders = [folder for folder in (home, *home.rglob("*")) if folder.is_dir() and folder.name != "work"]
    shared = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    before, others = files_below(home), {path: set(os.listdir(path)) for path in shared}
    statuses = set()
    with process_probes.FileWatch(folders, process_probes.WRITES) as writes:
        for request in requests():
            answer = server.ask(with_canary_key(request))
            statuses.add(answer.status)
            assert CANARY.encode() not in answer.raw, answer.raw[:500]
        with raw_http.connect(server.port) as connection:
            connection.sendall(with_canary_key(clone_request(text=f"{CANARY} " * 50, max_seconds="20")))
            assert connection.recv(1000)
        server.await_idle()
        assert not writes.events()
    assert statuses >= {200, 400, 415, 422}
    assert files_below(home) == before
    for path, names in others.items():
        ours = [name for name in set(os.listdir(path)) - names if (path / name).is_file()]
        assert not [name for name in ours if CANARY.encode() in (path / name).read_bytes()]


def test_log_and_health_do_not_repeat_requests(server: RealServer) -> None:
    log = server.log.read_text()
    assert "csm.web request" in log and "key=key-2" in log
    assert not [line for line in log.splitlines() if CANARY in line or "secret" in line]
    assert CANARY.encode() not in server.get().raw


def test_the_kernel_counts_no_bytes_written(tmp_path: Path) -> None:
    before = written(os.getpid())
    (tmp_path / "file").write_bytes(bytes(100_000))
    if written(os.getpid()) == before:
        pytest.skip("what is written here is not counted: it stays in memory")
    with real_server(tmp_path, log_level="ERROR") as server:
        server.assert_serves()
        pid = server.worker_pid
        before = written(pid)
        for content in (synthetic_speech(95), VOICE.read_bytes(), b"no sound"):
            server.ask(clone_request(content))
        assert written(pid) == before


def test_the_watch_sees_a_file_that_is_deleted_at_once(tmp_path: Path) -> None:
    with process_probes.FileWatch([tmp_path], process_probes.WRITES) as writes:
        (tmp_path / "brief").write_bytes(b"sound")
        (tmp_path / "brief").unlink()
        assert writes.events()
