"""The system clock jumps by days, as it does when a machine wakes up or reaches its time server."""

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, RealServer, clone_request, real_server

pytestmark = pytest.mark.slow

DAY = 86_400


class Clock:
    """The system clock as the server sees it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Set it to so many seconds from the true time."""
        fresh = self.file.with_suffix(".new")  # the server must not read half a file
        fresh.write_text(str(seconds))
        fresh.replace(self.file)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock") / "offset")


def key(name: str, expiry: str = "") -> str:
    return f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{expiry}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("clocked")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    (folder / "keys").write_text(key("secret") + key("until-tomorrow", tomorrow) + key("often") + key("seldom"))
    keys = {"api_keys": "", "api_keys_file": folder / "keys"}
    settings: dict[str, Any] = {**keys, "rate_limit": "20 per hour", "slots": 1}
    command = (sys.executable, str(ROOT / "tests/faults/shifted_clock_server.py"), str(clock.file))
    with real_server(folder, command, **noise(), **settings) as server:
        yield server


@pytest.fixture(autouse=True)
def right_time(clock: Clock) -> Iterator[None]:
    clock.jump(0)
    yield
    clock.jump(0)


def logged_time(server: RealServer) -> datetime:
    """Return the time by the server's clock, from its log."""
    server.get("/unknown")
    line = wait_until(lambda: [line for line in server.log.read_text().splitlines() if "status=401" in line])[-1]
    return datetime.fromisoformat(line.split()[0])


def ask(server: RealServer, name: str) -> int:
    return server.ask(clone_request().replace(b"X-API-Key: secret", b"X-API-Key: " + name.encode())).status


@pytest.mark.parametrize("offset", [2 * DAY, -2 * DAY])
def test_running_requests_go_on_in_the_same_worker(server: RealServer, clock: Clock, offset: int) -> None:
    worker = server.worker_pid
    with ThreadPoolExecutor(2) as pool:
        heard = [pool.submit(server.ask, clone_request(**(LONG_FIELDS | {"max_seconds": "3"}))) for _ in range(2)]
        wait_until(lambda: server.health().get("waiting") == 1)
        clock.jump(offset)
        assert abs((logged_time(server) - datetime.now(UTC)).total_seconds() - offset) < 60, (
            "the server did not see the jump"
        )
        assert [(one.result().status, one.result().is_complete) for one in heard] == [(200, True)] * 2
    assert server.worker_pid == worker
    clock.jump(0)
    server.assert_serves()


def test_a_key_expires_by_the_system_clock(server: RealServer, clock: Clock) -> None:
    assert ask(server, "until-tomorrow") == 200
    clock.jump(2 * DAY)
    assert ask(server, "until-tomorrow") == 401
    clock.jump(0)
    assert ask(server, "until-tomorrow") == 200


def test_a_quota_is_fresh_after_a_jump_ahead(server: RealServer, clock: Clock) -> None:
    assert [ask(server, "often") for _ in range(21)] == [200] * 20 + [429]
    clock.jump(DAY)
    assert ask(server, "often") == 200


def test_a_jump_back_gives_no_key_more_than_its_quota(server: RealServer, clock: Clock) -> None:
    assert [ask(server, "seldom") for _ in range(10)] == [200] * 10
    clock.jump(-DAY)
    assert 429 in [ask(server, "seldom") for _ in range(25)]
    server.assert_serves()
