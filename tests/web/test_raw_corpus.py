"""Malformed multipart, JSON and HTTP against the real server: every answer is an expected one, the worker survives."""

import pytest

from tests import raw_http
from tests.corpus import conversations, json_bodies, multipart
from tests.web.requests import KEY

ACCEPTED = 200
"""The fake synthesizer accepts any reference audio and any voice, where a real one would refuse them."""


CORPORA = pytest.mark.parametrize(
    ("corpus", "classes"),
    [(multipart, 15), (json_bodies, 15), (conversations, 6)],
    ids=["multipart", "json", "conversations"],
)


@CORPORA
def test_the_same_seed_makes_the_same_cases(corpus, classes):
    assert corpus.cases(7) == corpus.cases(7) != corpus.cases(8)
    assert len({case.name for case in corpus.cases(7)}) >= classes


@CORPORA
@pytest.mark.slow
def test_every_malformed_request_gets_an_expected_status(serve, corpus, classes):
    server = serve(capacity=10)
    pid = server.worker_pid
    wrong = []
    for case in corpus.cases(1, KEY):
        status = raw_http.ask(server.port, case.raw, timeout=60).status
        allowed = case.expect | ({ACCEPTED} if case.expect & {404, 415} else set())
        if status not in allowed:
            wrong.append((case.name, status, sorted(case.expect), case.raw[-100:]))
    assert not wrong
    assert server.ask(raw_http.clone_request()).is_complete
    assert server.worker_pid == pid
    assert server.health()["running"] == 0
    assert "ERROR" not in server.log.read_text()
