"""Every query of the dashboard and of the alerts, in a real Prometheus that scrapes a real server under load."""

import json
import math
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests import raw_http
from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.polling import wait_until
from tests.prometheus import CONFIGURATION, Prometheus, prometheus
from tests.real_server import RealServer, clone_request, real_server

pytestmark = pytest.mark.slow

KEY = "for-prometheus"

RULES = yaml.safe_load((CONFIGURATION / "alerts.yml").read_text())["groups"][0]["rules"]
LIMIT = re.compile(r" (==|>) [\d.]+$")
"""The comparison at the end of an alert's expression; what is compared must have a value."""


def queries() -> Iterator[tuple[str, str]]:
    """Yield the name and each query of each panel, as Grafana sends it, and of each alert, without its limit."""
    for panel in json.loads((ROOT / "deploy/grafana/csm.json").read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            assert "$" not in query
            yield panel["title"], query
    for rule in RULES:
        expression = " ".join(rule["expr"].split())
        assert LIMIT.search(expression)
        yield rule["alert"], LIMIT.sub("", expression)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that makes the device fail; see `tests/faults/failing_device_server.py`."""
    return tmp_path_factory.mktemp("faults") / "orders"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[RealServer]:
    command = (sys.executable, str(ROOT / "tests/faults/failing_device_server.py"), str(faults))
    with real_server(
        tmp_path_factory.mktemp("server"), command, **noise(), slots=2, queue=1, metrics_key=KEY
    ) as server:
        yield server


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory, server: RealServer) -> Iterator[Prometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), server.port, KEY) as running:
        yield running


def load(server: RealServer, faults: Path) -> None:
    """Cause answers that end at their limit, refusals, a stream that the client leaves, and one that is cut off."""
    with ThreadPoolExecutor(6) as clients:
        answers = [*clients.map(server.ask, [clone_request(max_seconds="1")] * 6)]
    assert {answer.status for answer in answers} == {200, 503}
    endless = clone_request(text="One, two, three. " * 20, max_seconds="30")
    with raw_http.connect(server.port) as connection:
        connection.sendall(endless)
        assert connection.recv(100)
    server.await_idle()
    faults.write_text("nan 5")
    assert not server.ask(endless).is_complete
    server.await_idle()


def await_scrapes(watching: Prometheus) -> None:
    """Wait until Prometheus has read the metrics anew."""

    def scrapes() -> int:
        return len(watching.api("query", query="csm_ready[10m]")["result"][0]["values"])

    before = scrapes()
    wait_until(lambda: scrapes() > before + 1)


def test_every_query_has_a_value_after_load_and_every_metric_exists(
    server: RealServer, watching: Prometheus, faults: Path
) -> None:
    # A rate is the difference of two scrapes, so the second load counts.
    for _ in range(2):
        load(server, faults)
        await_scrapes(watching)
    found = [(name, query, watching.values(query)) for name, query in queries()]
    without = [(name, query) for name, query, values in found if not values or not all(map(math.isfinite, values))]
    # The device is a processor.
    assert [(name, query) for name, query in without if "gpu" not in query] == []
    assert {name for name, _ in without} == {"Memory", "CsmGpuMemory"}
    (group,) = watching.api("rules")["groups"]
    assert {rule["name"] for rule in group["rules"]} == {rule["alert"] for rule in RULES}
    wait_until(lambda: {rule["health"] for rule in watching.api("rules")["groups"][0]["rules"]} == {"ok"})
    # More than a twentieth of the requests were refused: the alert waits for that to last.
    wait_until(lambda: "CsmRefusals" in {alert["labels"]["alertname"] for alert in watching.api("alerts")["alerts"]})


def test_a_lost_device_is_seen_as_a_restart(server: RealServer, watching: Prometheus, faults: Path) -> None:
    wait_until(lambda: watching.values("csm_ready") == [1.0])
    faults.write_text("lost 1")
    server.ask(clone_request())
    wait_until(lambda: watching.values('changes(process_start_time_seconds{job="csm"}[10m])') == [1.0], 60)
    wait_until(lambda: watching.values("csm_ready") == [1.0], 120)
