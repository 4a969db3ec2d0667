"""Redis, where quotas are kept, is killed, hangs and comes back under the real server: nobody waits, all are served."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.real_server import RealServer, clone_request, real_server
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, redis):
    folder: Path = tmp_path_factory.mktemp("quotas")
    with real_server(folder, api_keys="secret,other", rate_limit="8 per hour", rate_limit_storage=redis.uri) as server:
        yield server


def seconds(server: RealServer, status: int, key: bytes = b"secret") -> float:
    started = time.monotonic()
    assert server.ask(clone_request().replace(b"secret", key)).status == status
    return time.monotonic() - started


def test_down_and_back(server, redis):
    worker = server.worker_pid
    assert max(seconds(server, 200) for _ in range(3)) < 10
    redis.stop()
    # The first waits for RedisServer once; the others count in memory, where all of the quota is left.
    assert max(seconds(server, 200) for _ in range(8)) < 10
    assert seconds(server, 429) < 10, "never without a limit"
    redis.start()
    deadline = time.monotonic() + 60
    while server.ask(clone_request()).status != 200:
        assert time.monotonic() < deadline, "the empty RedisServer was not asked again"
        time.sleep(0.5)
    server.await_idle()
    assert server.worker_pid == worker


def test_hung(server, redis):
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        assert seconds(server, 200, b"other") < 15
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    server.await_idle()
