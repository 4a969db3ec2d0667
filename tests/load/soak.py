"""Steady traffic of good, rude and hostile callers, and what a server keeps of it: memory, descriptors, threads."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests import process_probes, raw_http
from tests.load import simultaneous_clients
from tests.real_server import RealServer, clone_request

SHARE = 0.8
"""Of what the server can do."""

PATIENCE = 60.0
CALLERS = 24


@dataclass(frozen=True)
class Reading:
    """What a process has.

    Attributes:
        requests: answered so far.
        memory_mb: resident and its own, without mapped files.
        descriptors: that are open.
        threads: that live.
    """

    requests: int
    memory_mb: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int, requests: int) -> "Reading":
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
        memory = int(status["RssAnon"]) / 1024
        return cls(requests, memory, process_probes.descriptors(pid), int(status["Threads"]))


class Traffic:
    """Eight of ten callers listen to the end, one hangs up, one sends what is no recording.

    Args:
        server: to be called.
        good: recordings; each is a voice of its own.
        bad: what is none, in turn.
    """

    def __init__(self, server: RealServer, good: list[bytes], bad: list[bytes]) -> None:
        self._server = server
        self._good, self._bad = itertools.cycle(good), itertools.cycle(bad)
        self.outcomes: Counter[str] = Counter()

    def call(self, number: int) -> None:
        """Be the caller of this number; note how it went."""
        rare = {0: ("hang-up", self.hang_up), 1: ("bad file", self.send_rubbish)}
        kind, act = rare.get(number % 10, ("good", self.listen))
        try:
            self.outcomes[f"{kind}: {act()}"] += 1
        except OSError as error:
            self.outcomes[f"{kind}: {type(error).__name__}"] += 1

    def listen(self) -> str:
        answer = self._server.ask(clone_request(next(self._good), seed=str(time.monotonic_ns())), PATIENCE)
        if answer.status not in (200, 503):
            return f"{answer.status} {answer.body.decode()}"
        return str(answer.status) if answer.is_complete else "torn"

    def hang_up(self) -> str:
        with raw_http.connect(self._server.port, PATIENCE) as connection:
            connection.sendall(clone_request(next(self._good), max_seconds="20"))
            connection.recv(1000)
        return "gone"

    def send_rubbish(self) -> str:
        return str(self._server.ask(clone_request(next(self._bad)), PATIENCE).status)


def capacity(traffic: Traffic, callers: int, seconds: float) -> float:
    """Requests a second that are served when there is always one more."""
    numbers = itertools.count()
    until = time.monotonic() + seconds

    def call_on(_: int) -> int:
        count = 0
        while time.monotonic() < until:
            traffic.call(next(numbers))
            count += 1
        return count

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(call_on, range(callers))) / seconds


def readings(traffic: Traffic, pid: int, rate: float, seconds: float) -> Iterator[Reading]:
    """Call `rate` times a second; a reading each second."""
    begun = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            pool.submit(traffic.call, number)
            if number % max(1, round(rate)) == 0:
                yield Reading.of(pid, traffic.outcomes.total())


def warm_up(server: RealServer, traffic: Traffic) -> float:
    """Let everything that grows to a size of its own get there: threads, voices, buffers. The rate to go on with."""
    simultaneous_clients.at_once(server.port, [clone_request()] * CALLERS)
    rate = SHARE * capacity(traffic, 3, 6)
    for _ in readings(traffic, server.worker_pid, rate, 6):
        pass
    return rate


def growth(found: list[Reading]) -> tuple[float, float, float]:
    """Of memory in MB per 1,000 requests, and of descriptors and threads from the beginning to the end.

    These are compared when there are fewest: a crowd has more, and takes them away again.
    """
    settled = found[len(found) // 4 :]
    third = len(settled) // 3
    descriptors, threads = (
        float(min(values[-third:]) - min(values[:third]))
        for values in ([one.descriptors for one in settled], [one.threads for one in settled])
    )
    return 1000 * _slope(settled), descriptors, threads


def _slope(found: list[Reading]) -> float:
    """Of memory by requests, by Theil and Sen: the median of the slopes of pairs, in which peaks do not count."""
    x, y = np.array([one.requests for one in found]), np.array([one.memory_mb for one in found])
    first, second = np.triu_indices(len(found), len(found) // 4)
    apart = x[second] > x[first]
    return float(np.median((y[second] - y[first])[apart] / (x[second] - x[first])[apart]))
