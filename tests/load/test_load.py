"""Many callers at once on real sockets: exactly slots and queue are admitted, the others are told so at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from tests import tables
from tests.running import LONG, running, speak
from tests.web import raw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOTS, QUEUE = 2, 4
SECONDS = "3"
"""Of audio: long enough that all callers have come before the first is served."""

GENEROUS = 10.0
"""Bound in seconds on what takes milliseconds on a machine that does nothing else."""


@dataclass
class Heard:
    """One caller's answer, and how long after the last byte of the request its first byte came."""

    answer: raw.Answer
    first_byte: float


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("load"), slots=SLOTS, queue=QUEUE, log_level="WARNING") as server:
        server.assert_serves()
        yield server


def call(server, start: threading.Barrier) -> Heard:
    request = speak(**(LONG | {"max_seconds": SECONDS})).replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1)
    with raw.connect(server.port, 300) as connection:
        start.wait()
        connection.sendall(request)
        sent = time.monotonic()
        first = connection.recv(65536)
        waited = time.monotonic() - sent
        return Heard(raw.parse(first + raw.read_to_end(connection)), waited)


class Watcher(threading.Thread):
    """Asks for `/health` without a pause for breath, and notes what it hears and how long that takes."""

    def __init__(self, server) -> None:
        super().__init__()
        self._server, self._over = server, threading.Event()
        self.seconds: list[float] = []
        self.inside: list[int] = []

    def run(self) -> None:
        while not self._over.wait(0.02):
            started = time.monotonic()
            health = self._server.health()
            self.seconds.append(time.monotonic() - started)
            self.inside.append(health["running"] + health["waiting"])

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@pytest.fixture(scope="module")
def rows(pytestconfig):
    found: list[tuple[object, ...]] = []
    yield found
    header = ("callers", "admitted", "refused", "refusal p99", "first audio p50", "/health p50", "/health p99")
    tables.add(pytestconfig, f"Callers at once, {SLOTS} slots and {QUEUE} in the queue; seconds", header, found)


def percentile(seconds, share):
    return float(np.percentile(seconds, share)) if len(seconds) else 0.0


@pytest.mark.parametrize("callers", [1, SLOTS + QUEUE, 20, 100])
def test_exactly_as_many_as_there_are_places(server, rows, callers):
    start = threading.Barrier(callers)
    with Watcher(server) as watcher, ThreadPoolExecutor(callers) as pool:
        heard = list(pool.map(lambda _: call(server, start), range(callers)))
    admitted = [one for one in heard if one.answer.status == 200]
    refused = [one for one in heard if one.answer.status == 503]
    refusals, firsts = [one.first_byte for one in refused], [one.first_byte for one in admitted]
    health = percentile(watcher.seconds, 50), percentile(watcher.seconds, 99)
    rows.append((callers, len(admitted), len(refused), percentile(refusals, 99), percentile(firsts, 50), *health))

    assert len(admitted) == min(callers, SLOTS + QUEUE)
    assert len(admitted) + len(refused) == callers
    assert all(one.answer.is_complete for one in heard), "a torn answer"
    assert all(int(one.answer.headers["retry-after"]) >= 1 for one in refused)
    assert max(watcher.inside) <= SLOTS + QUEUE
    assert max(refusals, default=0) < GENEROUS and max(watcher.seconds) < GENEROUS
    server.await_idle()


def test_each_hears_its_own(server):
    """Six together hear what each hears alone."""
    texts = [f"{word}." for word in ("One", "Two", "Three", "Four", "Five", "Six")]
    requests = [speak(text=text, seed=str(seed), temperature="0", max_seconds="0.4") for seed, text in enumerate(texts)]
    alone = [server.ask(request).body for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = [answer.body for answer in pool.map(server.ask, requests)]
    assert len(set(alone)) > 1
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        a, b = (np.frombuffer(pcm[44:], "<i2").astype(float) for pcm in (one, other))
        assert np.abs(a - b).max() <= 2, "rounding differs with the size of a batch, and nothing else"
