"""The device fails during a generation: that answer breaks off, at worst the worker is replaced, and the next request
succeeds.

Faults at every other call than the step are in `tests/engine/test_failures.py`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.polling import wait_until
from tests.real_server import LONG_FIELDS, clone_request, real_server

pytestmark = pytest.mark.slow

FRAMES = 5
SHORT = clone_request(text="A few words.", max_seconds=str(0.08 * FRAMES), seed="3")


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    return tmp_path_factory.mktemp("orders") / "fault"


@pytest.fixture(scope="module")
def server(tmp_path_factory, orders):
    command = (sys.executable, str(ROOT / "tests/faults/failing_device_server.py"), str(orders))
    settings = noise() | {"slots": 2, "queue": 3, "deadline_seconds": 8}
    with real_server(tmp_path_factory.mktemp("device"), command, **settings) as server:
        yield server


def order(orders, fault, step):
    """Let a step fail; the file is renamed into place, so that the server never reads half of it."""
    fresh = orders.with_suffix(".new")
    fresh.write_text(f"{fault} {step}")
    fresh.replace(orders)


@pytest.mark.parametrize("step", range(1, FRAMES + 1))
@pytest.mark.parametrize("fault", ["memory", "nan", "code"])
def test_a_step_that_fails_breaks_off_that_answer_only(server, orders, fault, step):
    before = server.worker_pid
    order(orders, fault, step)
    answer = server.ask(SHORT)
    assert not orders.exists(), "the fault did not happen"
    if step == 1:
        assert answer.status == 200 and answer.is_complete, "nothing was sent yet, so the segment is generated again"
    else:
        assert answer.status == 200 and not answer.is_complete, "an answer that breaks off must not look complete"
    server.assert_serves()
    assert server.worker_pid == before


def test_without_a_fault_the_answer_is_complete(server):
    answer = server.ask(SHORT)
    assert (answer.status, answer.is_complete, len(answer.body)) == (200, True, 44 + FRAMES * 3840)


@pytest.mark.parametrize(("fault", "reason"), [("lost", "the device is lost"), ("hung", "does not answer")])
def test_a_lost_or_hung_device_gets_a_new_worker(server, orders, fault, reason):
    server.assert_serves()
    before = server.worker_pid
    with ThreadPoolExecutor(3) as pool:
        speaking = [pool.submit(server.ask, clone_request(**LONG_FIELDS)) for _ in range(3)]
        wait_until(lambda: server.health()["running"] == 2)
        order(orders, fault, 1)
        assert not any(future.result().status == 200 and future.result().is_complete for future in speaking)
    wait_until(lambda: server.worker_pid != before, 60)
    log = server.log.read_text()
    assert reason in log and "exited with code 70" in log
    server.await_status("healthy")
    server.assert_serves()
