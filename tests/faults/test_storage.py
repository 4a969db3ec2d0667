"""Redis, where quotas are kept, is killed, hangs and comes back under the real server: nobody waits, all are served."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.running import Running, running, speak
from tests.web.test_redis import Redis

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    redis = Redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, redis):
    folder: Path = tmp_path_factory.mktemp("quotas")
    with running(folder, api_keys="secret,other", rate_limit="8 per hour", rate_limit_storage=redis.uri) as server:
        yield server


def seconds(server: Running, status: int, key: bytes = b"secret") -> float:
    started = time.monotonic()
    assert server.ask(speak().replace(b"secret", key)).status == status
    return time.monotonic() - started


def test_down_and_back(server, redis):
    worker = server.worker
    assert max(seconds(server, 200) for _ in range(3)) < 10
    redis.stop()
    # The first waits for Redis once; the others count in memory, where all of the quota is left.
    assert max(seconds(server, 200) for _ in range(8)) < 10
    assert seconds(server, 429) < 10, "never without a limit"
    redis.start()
    deadline = time.monotonic() + 60
    while server.ask(speak()).status != 200:
        assert time.monotonic() < deadline, "the empty Redis was not asked again"
        time.sleep(0.5)
    server.await_idle()
    assert server.worker == worker


def test_hung(server, redis):
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        assert seconds(server, 200, b"other") < 15
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    server.await_idle()
