"""Three servers behind the real HAProxy: what happens to requests when one of them is killed, drains or is full."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import process_probes, raw_http
from tests.haproxy import CONFIGURATION, HAPROXY, NAMES, HaProxy, haproxy
from tests.polling import wait_until
from tests.real_server import RealServer, clone_request, real_server
from tests.web.fake_server import FakeServer, start_server
from tests.web.fake_synthesizer import CHUNK
from tests.web.test_metrics import samples

pytestmark = pytest.mark.slow

CAPACITY = 4


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[FakeServer]]:
    started = [start_server(tmp_path, CAPACITY) for _ in NAMES]
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def balancer(tmp_path: Path, servers: list[FakeServer]) -> Iterator[HaProxy]:
    with haproxy(tmp_path, [server.port for server in servers], CAPACITY) as running:
        yield running


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def request(text: str, voice: str = "", audio: bytes = b"sound") -> bytes:
    headers = {"X_Voice": voice} if voice else {}
    return raw_http.post(raw_http.form(text, audio), **headers)


def begun(servers: list[FakeServer]) -> list[int]:
    """Return how many generations each server has begun."""
    return [len(server.happened("begin")) for server in servers]


def kill(server: FakeServer) -> None:
    """Kill worker and arbiter at once, as a machine that fails does."""
    pids = [*process_probes.children(server.process.pid), server.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.process.wait(30)


def is_whole(answer: raw_http.Answer, chunks: int) -> bool:
    return answer.status == 200 and answer.is_complete and answer.body[44:] == chunks * CHUNK


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    subprocess.run([HAPROXY, "-c", "-f", CONFIGURATION], check=True, capture_output=True)


def test_requests_with_the_same_voice_go_to_the_same_server(balancer: HaProxy, servers: list[FakeServer]) -> None:
    for voice in ("anna", "bert", "carl", "dora", "emil", "fred"):
        before = begun(servers)
        for _ in range(4):
            assert is_whole(balancer.ask(request("chunks=1", voice)), 1)
            wait_until(lambda: balancer.is_idle)
        added = [after - count for after, count in zip(begun(servers), before, strict=True)]
        assert sorted(added) == [0, 0, 4], voice
    assert all(begun(servers)), "six voices are spread over three servers"


def test_one_voice_alone_gets_more_than_one_server(
    balancer: HaProxy, servers: list[FakeServer], clients: ThreadPoolExecutor
) -> None:
    answers = [clients.submit(balancer.ask, request("chunks=2 hold=1", "anna")) for _ in range(2 * CAPACITY)]
    wait_until(lambda: sum(begun(servers)) == 2 * CAPACITY)
    assert max(begun(servers)) <= CAPACITY
    for server in servers:
        server.release()
    assert all(is_whole(answer.result(), 2) for answer in answers)


def test_killing_a_server_cuts_off_its_own_streams_only(
    balancer: HaProxy, servers: list[FakeServer], clients: ThreadPoolExecutor
) -> None:
    stream = request("chunks=3 hold=2")
    # Of these, nothing is sent before the kill. Their uploads are as large as recordings are.
    silent = request("chunks=3 hold=0", audio=bytes(900_000))

    def start(names: str) -> list[Future[raw_http.Answer]]:
        """Start two streams and a silent request on some of the servers, and wait until they have begun."""
        before = sum(begun(servers))
        with balancer.only(names):
            started = [clients.submit(balancer.ask, what) for what in (stream, stream, silent)]
            wait_until(lambda: sum(begun(servers)) == before + 3)
        return started

    of_the_victim, of_others = start("a"), start("bc")
    assert begun(servers)[0] == 3
    kill(servers[0])
    # From now on, every request is served, although HAProxy may not have noticed yet.
    assert all(is_whole(balancer.ask(request("chunks=3")), 3) for _ in range(20))
    for server in servers[1:]:
        server.release()
    assert [is_whole(answer.result(), 3) for answer in of_the_victim] == [False, False, True]
    assert [is_whole(answer.result(), 3) for answer in of_others] == [True, True, True]
    wait_until(lambda: not balancer.is_up("a"))


def test_a_server_that_comes_back_gets_requests_again(
    balancer: HaProxy, servers: list[FakeServer], tmp_path: Path
) -> None:
    port = servers[0].port
    kill(servers[0])
    wait_until(lambda: not balancer.is_up("a"))
    servers[0] = start_server(tmp_path, CAPACITY, port=port)
    wait_until(lambda: balancer.is_up("a"))
    for _ in range(6):
        assert is_whole(balancer.ask(request("chunks=1")), 1)
    assert begun(servers)[0]


def test_no_request_fails_while_a_server_is_drained_and_stopped(
    balancer: HaProxy, servers: list[FakeServer], clients: ThreadPoolExecutor
) -> None:
    streams = [clients.submit(balancer.ask, request("chunks=3 hold=2")) for _ in range(6)]
    wait_until(lambda: sum(begun(servers)) == 6)
    assert (on_the_first := begun(servers)[0])
    balancer.command("set server csm/a state drain")
    for _ in range(9):
        assert is_whole(balancer.ask(request("chunks=1")), 1)
    assert begun(servers)[0] == on_the_first
    for server in servers:
        server.release()
    wait_until(lambda: balancer.servers()["a"]["scur"] == "0")
    servers[0].process.send_signal(signal.SIGTERM)
    for _ in range(9):
        assert is_whole(balancer.ask(request("chunks=1")), 1)
    assert servers[0].process.wait(30) == 0
    assert all(is_whole(stream.result(), 3) for stream in streams)


def test_requests_over_the_capacity_of_all_wait_and_are_then_refused_with_a_problem_document(
    balancer: HaProxy, servers: list[FakeServer], clients: ThreadPoolExecutor
) -> None:
    streams = [clients.submit(balancer.ask, request("chunks=2 hold=1")) for _ in range(3 * CAPACITY)]
    wait_until(lambda: begun(servers) == [CAPACITY] * 3)
    refused = balancer.ask(request("chunks=2"))
    assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["retry-after"]) > 0
    waiting = clients.submit(balancer.ask, request("chunks=2"))
    for server in servers:
        server.release()
    assert is_whole(waiting.result(), 2)
    assert all(is_whole(stream.result(), 2) for stream in streams)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics"])
def test_the_metrics_are_not_passed_on(balancer: HaProxy, path: str) -> None:
    assert balancer.ask(f"GET {path} HTTP/1.1\r\nHost: t\r\nX-API-Key: secret\r\n\r\n".encode()).status == 404


def test_the_real_model_is_asked_where_the_voice_is_cached(tmp_path: Path) -> None:
    """Three servers with the demo model: one of them encodes the voice, once."""

    def metrics(server: RealServer) -> dict[str, float]:
        answer = server.ask(b"GET /metrics HTTP/1.1\r\nHost: t\r\nX-API-Key: for-prometheus\r\n\r\n")
        return samples(answer.body.decode())

    folders = [tmp_path / name for name in NAMES]
    for folder in folders:
        folder.mkdir()
    given: dict[str, Any] = {"slots": 1, "queue": 4, "metrics_key": "for-prometheus"}
    with (
        real_server(folders[0], **given) as a,
        real_server(folders[1], **given) as b,
        real_server(folders[2], **given) as c,
        haproxy(tmp_path, [a.port, b.port, c.port], 5) as balancer,
    ):
        servers = (a, b, c)
        before = [metrics(server) for server in servers]
        speak = clone_request().replace(b"\r\nHost:", b"\r\nX-Voice: anna\r\nHost:", 1)
        for _ in range(3):
            answer = balancer.ask(speak, 120)
            assert answer.status == 200 and answer.is_complete
            wait_until(lambda: balancer.is_idle)
        after = [metrics(server) for server in servers]
        queries, hits = (
            sorted(later[name] - earlier[name] for earlier, later in zip(before, after, strict=True))
            for name in ("csm_prefix_cache_queries_total", "csm_prefix_cache_hits_total")
        )
        assert (queries, hits) == ([0, 0, 3], [0, 0, 2])
