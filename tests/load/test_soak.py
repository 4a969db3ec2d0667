"""Whatever callers do, the server keeps nothing of it; and if it did, this would notice."""

import sys

import pytest

from tests import summary_tables
from tests.load import soak
from tests.paths import ROOT
from tests.real_server import real_server
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

LONG_REQUESTS = 3000
MOST_MB, MOST_MB_BRIEFLY = 1.0, 5.0
"""Per 1,000 requests, over at least `LONG_REQUESTS`, and over fewer, where chance weighs more."""
MOST_HANDLES = 4
"""Descriptors and threads more at the end than at the beginning: they come and go with callers."""

LEAKY = (sys.executable, str(ROOT / "tests/load/leaking_server.py"))
HONEST = (sys.executable, str(ROOT / "sesame_server.py"))
FINE = {"good: 200", "hang-up: gone", "bad file: 200", "bad file: 415", "bad file: 422"}
"""Some of what is cut out of a recording is not missed."""
BUSY = {"good: 503", "bad file: 503"}


def bad_files():
    voice = VOICE.read_bytes()
    return [b"no sound", bytes(100_000), voice[:20_000], voice[:999] + voice[5000:], synthetic_speech(0.5), b"RIFF" + voice]


@pytest.fixture
def watched(tmp_path, pytestconfig):
    """Traffic to a server for some time, and how it grew."""

    def watch(command, seconds):
        settings = {"slots": 2, "queue": 8, "voice_cache_mb": 4, "log_level": "WARNING"}
        with real_server(tmp_path, command, **settings) as server:
            pid = server.worker_pid
            traffic = soak.Traffic(server, [VOICE.read_bytes(), *(synthetic_speech(3, n) for n in range(5))], bad_files())
            rate = soak.warm_up(server, traffic)
            traffic.outcomes.clear()
            found = list(soak.readings(traffic, pid, rate, seconds))
            server.await_idle(60)
            server.assert_serves()
            assert server.worker_pid == pid
        grown = soak.growth(found)
        row = (seconds, rate, found[-1].requests, found[-1].memory_mb, *grown)
        header = ("seconds", "per second", "requests", "MB", "MB per 1,000", "descriptors", "threads")
        summary_tables.add(pytestconfig, f"Soak of {command[-1].rpartition('/')[2]}", header, [row])
        summary_tables.add(pytestconfig, "Its callers", ("outcome", "count"), sorted(traffic.outcomes.items()))
        return traffic.outcomes, grown

    return watch


@pytest.mark.alone
def test_nothing_is_kept(watched, pytestconfig):
    outcomes, (memory, descriptors, threads) = watched(HONEST, pytestconfig.getoption("soak_seconds", 30))
    assert outcomes.keys() <= FINE | BUSY
    assert sum(outcomes[name] for name in BUSY) <= 0.1 * outcomes.total()
    assert memory < (MOST_MB if outcomes.total() >= LONG_REQUESTS else MOST_MB_BRIEFLY)
    assert descriptors <= MOST_HANDLES and threads <= MOST_HANDLES


def test_a_leak_would_be_noticed(watched):
    _, (memory, descriptors, threads) = watched(LEAKY, 20)
    assert memory > MOST_MB_BRIEFLY
    assert descriptors > MOST_HANDLES and threads > MOST_HANDLES
