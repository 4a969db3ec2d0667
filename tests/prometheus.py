"""The real Prometheus with `deploy/prometheus/`, scraping a server."""

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port

PROMETHEUS = shutil.which("prometheus") or "/usr/bin/prometheus"
PROMTOOL = shutil.which("promtool") or "/usr/bin/promtool"
CONFIGURATION = ROOT / "deploy/prometheus"


@dataclass
class Prometheus:
    """A running Prometheus.

    Attributes:
        port: of its API.
    """

    port: int

    def api(self, path: str, **parameters: str) -> Any:
        """Return the data of an API call; an invalid query is an error."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def values(self, query: str) -> list[float]:
        """Return the present values of a query."""
        return [float(row["value"][1]) for row in self.api("query", query=query)["result"]]


@contextlib.contextmanager
def prometheus(folder: Path, server_port: int, key: str) -> Iterator[Prometheus]:
    """Run Prometheus with the recommended configuration, but other addresses and files, and a scrape each second."""
    (folder / "key").write_text(key)
    shutil.copy(CONFIGURATION / "alerts.yml", folder)
    configuration = (CONFIGURATION / "prometheus.yml").read_text()
    changes = {
        "127.0.0.1:5000": f"127.0.0.1:{server_port}",
        "/etc/prometheus/csm.key\n    static": f"{folder}/key\n    static",
        "scrape_interval: 15s": "scrape_interval: 1s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    }
    for recommended, here in changes.items():
        assert configuration.count(recommended) == 1, recommended
        configuration = configuration.replace(recommended, here)
    (folder / "prometheus.yml").write_text(configuration)
    subprocess.run([PROMTOOL, "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
    port = free_port()
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [PROMETHEUS, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    running = Prometheus(port)

    def scrapes() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        with contextlib.suppress(OSError):
            return running.values('up{job="csm"}') == [1.0]
        return False

    try:
        wait_until(scrapes, 60)
        yield running
    finally:
        process.terminate()
        process.wait(30)
