"""Malformed multipart and HTTP against the real server: every answer is an expected one and the worker survives."""

from tests import raw_http
from tests.corpus.multipart import cases
from tests.web.requests import KEY

ACCEPTED = 200
"""The fake synthesizer accepts any reference audio, where a real decoder would refuse it."""


def test_the_same_seed_makes_the_same_cases():
    assert cases(7) == cases(7) != cases(8)
    assert len({case.name for case in cases(7)}) >= 20


def test_every_malformed_request_gets_an_expected_status(serve):
    server = serve(capacity=10)
    pid = server.worker_pid
    wrong = []
    for case in cases(1, KEY):
        status = raw_http.ask(server.port, case.raw, timeout=60).status
        allowed = case.expect | ({ACCEPTED} if 415 in case.expect else set())
        if status not in allowed:
            wrong.append((case.name, status, sorted(case.expect)))
    assert not wrong
    assert server.ask(raw_http.clone_request()).is_complete
    assert server.worker_pid == pid
    assert server.health()["running"] == 0
    assert "ERROR" not in server.log.read_text()
