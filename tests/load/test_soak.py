"""Soak test: whatever clients do, the server keeps nothing of it."""

import sys
from typing import Any

import pytest

from tests import summary_tables
from tests.load import soak
from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.real_server import real_server
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

LONG_REQUESTS = 3000
MAX_MB, MAX_MB_BRIEFLY = 4.0, 60.0
"""Growth per 1,000 requests, over at least `LONG_REQUESTS`, and over fewer, where the allocator's noise is larger.

A short run of a server that keeps nothing was seen to move by 12 MB per 1,000 requests, and by 27 with 214 requests on
a busy machine; long ones by 0.03 and 2. Keeping one reference audio in five would exceed either.
"""
MAX_HANDLES = 4
"""Growth of descriptors and threads, whose number depends on the clients of the moment."""

LEAKING = (sys.executable, str(ROOT / "tests/load/leaking_server.py"))
NORMAL = (sys.executable, str(ROOT / "sesame_server.py"))
EXPECTED = {"good: 200", "disconnect: disconnected", "bad file: 200", "bad file: 415", "bad file: 422"}
"""A recording with a part missing may still decode."""
BUSY = {"good: 503", "bad file: 503"}


def bad_files():
    voice = VOICE.read_bytes()
    return [
        b"no sound",
        bytes(100_000),
        voice[:20_000],
        voice[:999] + voice[5000:],
        synthetic_speech(0.5),
        b"RIFF" + voice,
    ]


@pytest.fixture
def watched(tmp_path, pytestconfig):
    """Send traffic to a server for some time and return the outcomes and its growth."""

    def watch(command, seconds):
        settings: dict[str, Any] = {"slots": 2, "queue": 8, "voice_cache_mb": 4, "log_level": "WARNING"}
        with real_server(tmp_path, command, **noise(), **settings) as server:
            pid = server.worker_pid
            traffic = soak.Traffic(
                server, [VOICE.read_bytes(), *(synthetic_speech(3, n) for n in range(5))], bad_files()
            )
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
        summary_tables.add(pytestconfig, "Its clients", ("outcome", "count"), sorted(traffic.outcomes.items()))
        return traffic.outcomes, grown

    return watch


@pytest.mark.alone
def test_memory_descriptors_and_threads_do_not_grow(watched, pytestconfig):
    outcomes, (memory, descriptors, threads) = watched(NORMAL, pytestconfig.getoption("soak_seconds", 30))
    assert outcomes.keys() <= EXPECTED | BUSY
    assert outcomes["good: 200"] > 0.4 * outcomes.total(), "too few requests were served to tell"
    assert memory < (MAX_MB if outcomes.total() >= LONG_REQUESTS else MAX_MB_BRIEFLY)
    assert descriptors <= MAX_HANDLES and threads <= MAX_HANDLES


def test_a_leak_is_found(watched):
    _, (memory, descriptors, threads) = watched(LEAKING, 20)
    assert memory > MAX_MB_BRIEFLY
    assert descriptors > MAX_HANDLES and threads > MAX_HANDLES
