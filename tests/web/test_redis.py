"""Quotas in a real Redis: shared between servers, and held locally while Redis is away."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.polling import wait_until
from tests.ports import free_port
from tests.web.requests import clone_statuses, post_clone


class Redis:
    """One that can be stopped and started on the same port; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.uri = f"redis://127.0.0.1:{self.port}/0"
        self._process = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            ["redis-server", *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        wait_until(lambda: answers(self.port))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make_limited(make_client, redis):
    return lambda limit: make_client(rate_limit=limit, rate_limit_storage=redis.uri)


def test_one_quota_for_several_servers(make_limited, redis):
    redis.start()
    first, second = make_limited("3 per minute"), make_limited("3 per minute")
    assert clone_statuses(first, 2) + clone_statuses(second, 2) == [200, 200, 200, 429]
    answer = post_clone(first)
    assert answer.status_code == 429
    assert 50 <= int(answer.headers["Retry-After"]) <= 61


def test_the_limit_holds_when_redis_is_down_from_the_start(make_limited):
    client = make_limited("2 per minute")
    started = time.monotonic()
    assert clone_statuses(client, 3) == [200, 200, 429]
    assert post_clone(client).headers["Retry-After"]
    assert time.monotonic() - started < 10


def test_the_limit_holds_when_redis_goes_and_comes_back(make_limited, redis, caplog):
    redis.start()
    client = make_limited("2 per minute")
    assert clone_statuses(client, 1) == [200]
    redis.stop()
    assert clone_statuses(client, 3) == [200, 200, 429], "counted anew in memory, and never without a limit"
    assert "unreachable" in caplog.text
    redis.start()
    # Empty as it is, the new Redis has room: a 200 shows that it is asked again.
    wait_until(lambda: post_clone(client).status_code == 200, 20)
    assert clone_statuses(client, 2) == [200, 429]


def test_a_redis_that_hangs_is_not_waited_for(make_limited, redis):
    import socket

    with socket.create_server(("127.0.0.1", redis.port)):
        client = make_limited("2 per minute")
        started = time.monotonic()
        assert clone_statuses(client, 3) == [200, 200, 429]
        assert time.monotonic() - started < 15
