"""Redis, which keeps the quotas, is killed, hangs and comes back under the real server: requests are still served."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.real_server import RealServer, clone_request, real_server
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[RealServer]:
    settings: dict[str, Any] = {"api_keys": "secret,other", "rate_limit": "8 per hour", "rate_limit_storage": redis.uri}
    with real_server(tmp_path_factory.mktemp("quotas"), **noise(), **settings) as server:
        yield server


def statuses(server: RealServer, count: int) -> list[int]:
    return [server.ask(clone_request()).status for _ in range(count)]


def test_redis_stops_and_starts_again(server: RealServer, redis: RedisServer) -> None:
    worker = server.worker_pid
    assert statuses(server, 3) == [200] * 3
    redis.stop()
    # Counted in memory, where all of the quota is left.
    assert statuses(server, 9) == [200] * 8 + [429]
    redis.start()
    # The new Redis is empty: a 200 shows that the server uses it again.
    wait_until(lambda: statuses(server, 1) == [200], 120)
    server.await_idle()
    assert server.worker_pid == worker


def test_redis_hangs(server: RealServer, redis: RedisServer) -> None:
    redis.suspend()
    try:
        assert server.ask(clone_request().replace(b"secret", b"other")).status == 200
    finally:
        redis.resume()
    server.await_idle()
