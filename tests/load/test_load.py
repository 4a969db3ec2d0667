"""Many clients at once through nginx: exactly slots + queue are served, the others are refused meanwhile.

Latencies are printed, not asserted.
"""

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests import summary_tables
from tests.load import simultaneous_clients
from tests.noise_checkpoint import noise
from tests.real_server import LONG_FIELDS, clone_request, real_server
from tests.web.nginx_proxy import nginx_proxy

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

SLOTS, QUEUE = 2, 4
SECONDS = "2"
"""Length of the audio: long enough that all requests have arrived before the first is served."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The real server, on the port of an nginx in front of it."""
    settings: dict[str, Any] = {"slots": SLOTS, "queue": QUEUE, "log_level": "WARNING", "trusted_proxies": 1}
    with (
        real_server(tmp_path_factory.mktemp("load"), **noise(), **settings) as server,
        nginx_proxy(tmp_path_factory.mktemp("nginx"), server.port, tls=False) as proxy,
    ):
        server.assert_serves()
        yield dataclasses.replace(server, port=proxy.port)


class Watcher(threading.Thread):
    """Asks for `/health` every 20 ms and records the answers and their latencies."""

    def __init__(self, server):
        super().__init__()
        self._server, self._over = server, threading.Event()
        self.seconds: list[float] = []
        self.admitted: list[int] = []

    def run(self) -> None:
        while not self._over.wait(0.02):
            started = time.monotonic()
            health = self._server.health()
            self.seconds.append(time.monotonic() - started)
            self.admitted.append(health["running"] + health["waiting"])

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
    header = (
        "clients",
        "served",
        "refused",
        "refusal p50",
        "refusal p99",
        "first audio p50",
        "/health p50",
        "/health p99",
    )
    summary_tables.add(
        pytestconfig, f"Clients at once through nginx, {SLOTS} slots, queue of {QUEUE}; seconds", header, found
    )


def percentile(seconds, percent):
    return float(np.percentile(seconds, percent)) if seconds else 0.0


@pytest.mark.parametrize("clients", [1, SLOTS + QUEUE, 20, 100])
def test_as_many_clients_as_there_is_capacity_are_served(server, rows, clients):
    with Watcher(server) as watcher:
        heard = simultaneous_clients.at_once(
            server.port, [clone_request(**(LONG_FIELDS | {"max_seconds": SECONDS}))] * clients
        )
    served = [client for client in heard if client.answer.status == 200]
    refused = [client for client in heard if client.answer.status == 503]
    waits = [client.waited for client in refused]
    first = percentile([client.waited for client in served], 50)
    health = [percentile(watcher.seconds, percent) for percent in (50, 99)]
    rows.append((clients, len(served), len(refused), percentile(waits, 50), percentile(waits, 99), first, *health))
    assert len(served) == min(clients, SLOTS + QUEUE)
    assert len(served) + len(refused) == clients
    assert all(client.answer.is_complete for client in heard), "an answer broke off"
    assert all(int(client.answer.headers["retry-after"]) >= 1 for client in refused)
    assert max((client.last for client in refused), default=0) < min(client.last for client in served), (
        "refusals waited for served requests"
    )
    assert max(watcher.admitted) <= SLOTS + QUEUE
    server.await_idle()


def test_each_client_gets_its_own_answer(server):
    """Six simultaneous requests get what each gets alone."""
    texts = [f"{word}." for word in ("One", "Two", "Three", "Four", "Five", "Six")]
    requests = [
        clone_request(text=text, seed=str(seed), temperature="0", max_seconds="0.4") for seed, text in enumerate(texts)
    ]
    alone = [server.ask(request).body for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = [answer.body for answer in pool.map(server.ask, requests)]
    assert len(set(alone)) > 1
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        a, b = (np.frombuffer(pcm[44:], "<i2").astype(float) for pcm in (one, other))
        assert np.abs(a - b).max() <= 2, "rounding differs with the size of a batch, and nothing else"
