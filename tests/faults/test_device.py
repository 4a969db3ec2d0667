"""A device that is lost or hangs while the real server speaks: the worker is replaced, and the next request succeeds.

Faults at every other call, out of memory, NaN and impossible codes are in `tests/engine/test_failures.py`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running import LONG, ROOT, running, speak
from tests.web.conftest import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    return tmp_path_factory.mktemp("orders") / "fault"


@pytest.fixture(scope="module")
def server(tmp_path_factory, orders):
    command = (sys.executable, str(ROOT / "tests/faults/sick.py"), str(orders))
    with running(tmp_path_factory.mktemp("device"), command, slots=2, queue=3, deadline_seconds=8) as server:
        yield server


@pytest.mark.parametrize(("fault", "reason"), [("lost", "the device is lost"), ("hung", "does not answer")])
def test_a_fresh_worker(server, orders, fault, reason):
    server.assert_serves()
    before = server.worker
    with ThreadPoolExecutor(3) as pool:
        speaking = [pool.submit(server.ask, speak(**LONG)) for _ in range(3)]
        until(lambda: server.health()["running"] == 2)
        orders.write_text(fault)
        assert not any(future.result().status == 200 and future.result().is_complete for future in speaking)
    until(lambda: server.worker != before, 60)
    log = server.log.read_text()
    assert reason in log and "exited with code 70" in log
    server.await_status("healthy")
    server.assert_serves()
