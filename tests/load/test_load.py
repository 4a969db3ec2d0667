"""Many callers at once on real sockets: exactly slots and queue are admitted, the others are told so at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests import tables
from tests.load import crowd
from tests.running import LONG, running, speak

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

SLOTS, QUEUE = 2, 4
SECONDS = "2"
"""Of audio: long enough that all callers have come before the first is served."""

REFUSED_SECONDS, HEALTH_SECONDS = 0.1, 0.2
"""For p99."""
ATTEMPTS = 3
"""At measuring times: other work on the machine may disturb one, but not each."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("load"), slots=SLOTS, queue=QUEUE, log_level="WARNING") as server:
        server.assert_serves()
        yield server


class Watcher(threading.Thread):
    """Asks for `/health` without a pause for breath, and notes what it hears and how long that takes."""

    def __init__(self, server):
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


def p99(seconds):
    return float(np.percentile(seconds, 99)) if seconds else 0.0


def call(server, callers):
    """All at once, while somebody watches over `/health`."""
    with Watcher(server) as watcher:
        heard = crowd.at_once(server.port, [speak(**(LONG | {"max_seconds": SECONDS}))] * callers)
    admitted = [caller for caller in heard if caller.answer.status == 200]
    refused = [caller for caller in heard if caller.answer.status == 503]
    assert len(admitted) == min(callers, SLOTS + QUEUE)
    assert len(admitted) + len(refused) == callers
    assert all(caller.answer.is_complete for caller in heard), "a torn answer"
    assert all(int(caller.answer.headers["retry-after"]) >= 1 for caller in refused)
    assert max(watcher.inside) <= SLOTS + QUEUE
    server.await_idle()
    return admitted, refused, watcher


@pytest.mark.parametrize("callers", [1, SLOTS + QUEUE, 20, 100])
def test_exactly_as_many_as_there_are_places(server, rows, callers):
    for _ in range(ATTEMPTS):
        admitted, refused, watcher = call(server, callers)
        first = float(np.median([caller.waited for caller in admitted]))
        refusal, health = p99([caller.waited for caller in refused]), p99(watcher.seconds)
        rows.append((callers, len(admitted), len(refused), refusal, first, float(np.median(watcher.seconds)), health))
        if refusal < REFUSED_SECONDS and health < HEALTH_SECONDS:
            return
    raise AssertionError(f"a refusal took {refusal:.3f} s, /health {health:.3f} s")


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
