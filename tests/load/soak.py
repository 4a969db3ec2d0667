"""Steady traffic of good, disconnecting and hostile clients, and what a server keeps of it."""

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
"""Of the measured throughput."""

TIMEOUT = 60.0
SECONDS = "0.16"
"""Length of the audio: two frames, so that there are many requests."""
CLIENTS = 24


@dataclass(frozen=True)
class Reading:
    """What a process uses.

    Attributes:
        requests: number answered so far.
        memory_mb: anonymous resident memory.
        descriptors: number of open files.
        threads: number of threads.
    """

    requests: int
    memory_mb: float
    descriptors: int
    threads: int

    @classmethod
    def from_process(cls, pid: int, requests: int) -> "Reading":
        """Read what a process uses now."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
        memory = int(status["RssAnon"]) / 1024
        return cls(requests, memory, process_probes.descriptors(pid), int(status["Threads"]))


class Traffic:
    """Of ten clients, eight receive the whole answer, one disconnects and one sends a file that is no recording.

    Args:
        server: receives the requests.
        good: reference audio, each in a voice of its own.
        bad: other files.
    """

    def __init__(self, server: RealServer, good: list[bytes], bad: list[bytes]) -> None:
        self._server = server
        self._good, self._bad = itertools.cycle(good), itertools.cycle(bad)
        self.outcomes: Counter[str] = Counter()

    def call(self, number: int) -> None:
        """Play the client of this number and count its outcome."""
        rare = {0: ("disconnect", self.disconnect), 1: ("bad file", self.send_bad_file)}
        kind, act = rare.get(number % 10, ("good", self.listen))
        try:
            self.outcomes[f"{kind}: {act()}"] += 1
        except OSError as error:
            self.outcomes[f"{kind}: {type(error).__name__}"] += 1

    def listen(self) -> str:
        """Receive a whole answer."""
        answer = self._server.ask(
            clone_request(next(self._good), seed=str(time.monotonic_ns()), max_seconds=SECONDS), TIMEOUT
        )
        if answer.status not in (200, 503):
            return f"{answer.status} {answer.body.decode()}"
        return str(answer.status) if answer.is_complete else "incomplete"

    def disconnect(self) -> str:
        """Disconnect after the first bytes."""
        with raw_http.connect(self._server.port, TIMEOUT) as connection:
            connection.sendall(clone_request(next(self._good), max_seconds="20"))
            connection.recv(1000)
        return "disconnected"

    def send_bad_file(self) -> str:
        """Send a file that is no recording."""
        return str(self._server.ask(clone_request(next(self._bad)), TIMEOUT).status)


def throughput(traffic: Traffic, clients: int, seconds: float) -> float:
    """Measure the requests a second that so many clients get answered, one after the other."""
    numbers = itertools.count()
    until = time.monotonic() + seconds

    def call_on(_: int) -> int:
        count = 0
        while time.monotonic() < until:
            traffic.call(next(numbers))
            count += 1
        return count

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(call_on, range(clients))) / seconds


def readings(traffic: Traffic, pid: int, rate: float, seconds: float) -> Iterator[Reading]:
    """Send `rate` requests a second; yield a reading each second."""
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            pool.submit(traffic.call, number)
            if number % max(1, round(rate)) == 0:
                yield Reading.from_process(pid, traffic.outcomes.total())


def warm_up(server: RealServer, traffic: Traffic) -> float:
    """Let threads, voices and buffers grow to their final sizes; return the rate of requests to go on with."""
    simultaneous_clients.at_once(server.port, [clone_request(max_seconds=SECONDS)] * CLIENTS)
    rate = SHARE * throughput(traffic, 3, 6)
    for _ in readings(traffic, server.worker_pid, rate, 6):
        pass
    return rate


def growth(found: list[Reading]) -> tuple[float, float, float]:
    """Return the growth of memory in MB per 1,000 requests, and of descriptors and threads from beginning to end.

    Descriptors and threads are compared by their minima, because simultaneous clients need more for a while.
    """
    settled = found[len(found) // 4 :]
    third = len(settled) // 3
    descriptors, threads = (
        float(min(values[-third:]) - min(values[:third]))
        for values in ([one.descriptors for one in settled], [one.threads for one in settled])
    )
    return 1000 * _slope(settled), descriptors, threads


def _slope(found: list[Reading]) -> float:
    """Return the slope of memory over requests by Theil and Sen: the median of the slopes of pairs ignores peaks."""
    x, y = np.array([one.requests for one in found]), np.array([one.memory_mb for one in found])
    first, second = np.triu_indices(len(found), len(found) // 4)
    apart = x[second] > x[first]
    return float(np.median((y[second] - y[first])[apart] / (x[second] - x[first])[apart]))
