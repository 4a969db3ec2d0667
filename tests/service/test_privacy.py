"""What callers send stays in memory: no file, no log and no answer of the real server knows it, whatever goes wrong."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import process_probes, raw_http
from tests.corpus.ffmpeg import encode, speech_wav
from tests.real_server import RealServer, clone_request, real_server
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = pytest.mark.slow

CANARY = "canary7f3e9a"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the server could think of writing to: its folder, its home, its temporary files."""
    home = tmp_path_factory.mktemp("home")
    for name in ("temporary", "work", "cache"):
        (home / name).mkdir()
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[RealServer]:
    surroundings = {"HOME": str(home), "TMPDIR": str(home / "temporary"), "XDG_CACHE_HOME": str(home / "cache")}
    keys = {"api_keys": f"secret,{CANARY}", "max_upload_mb": 12}
    with real_server(home / "work", environment=surroundings, log_level="DEBUG", slots=1, **keys) as server:
        server.assert_serves()
        yield server


def requests() -> Iterator[bytes]:
    """Good ones and such as fail at each station of the road, each with the canary in all that a caller can name."""
    tagged = encode("-metadata", f"title={CANARY}", suffix=".flac", source=speech_wav())
    assert CANARY.encode() in tagged
    samples = [tagged, VOICE.read_bytes(), tagged[:9000], CANARY.encode() * 99, synthetic_speech(0.4), bytes(2_000_000)]
    samples.append(synthetic_speech(100, seed=5))
    for content in samples:
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
    """Size and time of change of each file."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and path.name != "server.log":
            found[path] = status.st_size, status.st_mtime_ns
    return found


def written(pid: int) -> int:
    """Bytes that a process, and what it started and has seen end, have sent to disks so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def test_no_disk_is_touched_and_nothing_is_told(server: RealServer, home: Path) -> None:
    folders = [folder for folder in (home, *home.rglob("*")) if folder.is_dir() and folder.name != "work"]
    shared = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    before, strangers = files_below(home), {path: set(os.listdir(path)) for path in shared}
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
    for path, names in strangers.items():
        ours = [name for name in set(os.listdir(path)) - names if (path / name).is_file()]
        assert not [name for name in ours if CANARY.encode() in (path / name).read_bytes()]


def test_log_and_health_know_nothing(server: RealServer) -> None:
    log = server.log.read_text()
    assert "csm.web request" in log and "key=key-2" in log
    assert not [line for line in log.splitlines() if CANARY in line or "secret" in line]
    assert CANARY.encode() not in server.get().raw


def test_nothing_is_written_by_the_kernels_own_count(tmp_path: Path) -> None:
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


def test_the_watch_would_notice_a_file_that_comes_and_goes(tmp_path: Path) -> None:
    with process_probes.FileWatch([tmp_path], process_probes.WRITES) as writes:
        (tmp_path / "brief").write_bytes(b"sound")
        (tmp_path / "brief").unlink()
        assert writes.events()
