"""What the real nginx and the real HAProxy send again if a server breaks down before it responds."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests import raw_http
from tests.breaking_server import READY, breaking_server
from tests.haproxy import NAMES, haproxy
from tests.web.nginx_proxy import nginx_proxy

Operation = tuple[str, str]
TimesSent = Callable[[Operation], int]

SPEECH = {("POST", "/clone-voice"), ("POST", "/v1/audio/speech"), ("POST", "/conversation")}
"""Requests that change nothing on the server, but would cost the user speech if they failed."""


def request(method: str, path: str) -> bytes:
    return raw_http.post(b"a body", path, Connection="close").replace(b"POST", method.encode(), 1)


@contextlib.contextmanager
def behind_nginx(folder: Path) -> Iterator[TimesSent]:
    with breaking_server() as server, nginx_proxy(folder, server.port) as proxy:

        def times_sent(operation: Operation) -> int:
            # nginx sends requests again only if it had kept the connection open.
            assert proxy.get(READY).status == 200
            server.received.clear()
            assert proxy.ask(request(*operation)).status == 503
            return server.received.count(operation)

        yield times_sent


@contextlib.contextmanager
def behind_haproxy(folder: Path) -> Iterator[TimesSent]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(breaking_server()) for _ in NAMES]
        proxy = stack.enter_context(haproxy(folder, [server.port for server in servers], 10))

        def times_sent(operation: Operation) -> int:
            for server in servers:
                server.received.clear()
            assert proxy.ask(request(*operation)).status == 502
            return sum(server.received.count(operation) for server in servers)

        yield times_sent


@pytest.mark.parametrize("behind", [behind_nginx, behind_haproxy])
def test_only_requests_for_speech_are_sent_again(
    make_app: Callable[..., Flask],
    tmp_path: Path,
    behind: Callable[[Path], contextlib.AbstractContextManager[TimesSent]],
) -> None:
    """Storing or deleting a voice twice would turn a success into 409 or 404."""
    operations = set(SPEECH)
    for rule in make_app().url_map.iter_rules():
        operations |= {
            (method, re.sub("<[^>]+>", "x", rule.rule)) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
    with behind(tmp_path) as times_sent:
        times = {operation: times_sent(operation) for operation in operations - {("GET", READY)}}
    assert all(times.values())
    assert {operation for operation, number in times.items() if number > 1} == SPEECH
