"""Abuse of multipart and HTTP against the real server: every answer is foreseen, and the worker survives."""

import time

import pytest

from tests import raw_http
from tests.corpus.multipart import cases
from tests.web.requests import KEY
from tests.web.test_gunicorn import speak, worker_pid

SPOKEN = 200
"""The fake speaks for any sample, where a real decoder would refuse it."""


def test_the_same_seed_makes_the_same_cases():
    assert cases(7) == cases(7) != cases(8)
    assert len({case.name for case in cases(7)}) >= 20


@pytest.mark.parametrize("seed", [1])
def test_all_abuse_is_answered_as_foreseen(serve, seed):
    server = serve(capacity=10)
    pid = worker_pid(server)
    wrong = []
    for case in cases(seed, KEY):
        started = time.monotonic()
        status = raw_http.ask(server.port, case.raw, timeout=12).status
        allowed = case.expect | ({SPOKEN} if 415 in case.expect else set())
        if status not in allowed or time.monotonic() - started > 12:
            wrong.append((case.name, status, sorted(case.expect)))
    assert not wrong
    assert server.ask(speak()).is_complete
    assert worker_pid(server) == pid
    assert server.health()["running"] == 0
    assert "ERROR" not in server.log.read_text()
