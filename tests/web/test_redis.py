"""Quotas in a real Redis: shared between servers, and counted in memory while Redis is down."""

import socket

import pytest

from tests.polling import wait_until
from tests.redis_server import RedisServer
from tests.web.requests import clone_statuses, post_clone


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make_limited(make_client, redis):
    return lambda limit: make_client(rate_limit=limit, rate_limit_storage=redis.uri)


def test_servers_share_one_quota(make_limited, redis):
    redis.start()
    first, second = make_limited("3 per hour"), make_limited("3 per hour")
    assert clone_statuses(first, 2) + clone_statuses(second, 2) == [200, 200, 200, 429]
    answer = post_clone(first)
    assert answer.status_code == 429
    assert 3000 < int(answer.headers["Retry-After"]) <= 3601


def test_the_limit_holds_when_redis_is_down_at_the_start(make_limited):
    client = make_limited("2 per hour")
    assert clone_statuses(client, 3) == [200, 200, 429]
    assert post_clone(client).headers["Retry-After"]


def test_the_limit_holds_when_redis_stops_and_starts_again(make_limited, redis, caplog):
    redis.start()
    client = make_limited("2 per hour")
    assert clone_statuses(client, 1) == [200]
    redis.stop()
    assert clone_statuses(client, 3) == [200, 200, 429], "counted anew in memory, and never without a limit"
    assert "unreachable" in caplog.text
    redis.start()
    # Empty as it is, the new Redis has room: a 200 shows that it is asked again.
    wait_until(lambda: post_clone(client).status_code == 200, 20)
    assert clone_statuses(client, 2) == [200, 429]


def test_a_redis_that_does_not_answer_does_not_block_requests(make_limited, redis):
    with socket.create_server(("127.0.0.1", redis.port)):
        client = make_limited("2 per hour")
        assert clone_statuses(client, 3) == [200, 200, 429]
