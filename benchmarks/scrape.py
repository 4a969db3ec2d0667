"""Read a server's metrics once a second while a benchmark runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import requests
from prometheus_client.parser import text_string_to_metric_families

SERIES = ("csm_num_requests_running", "csm_num_requests_waiting", "csm_audio_frames_total")
"""What is kept of each scrape."""

Scrape = dict[str, float]
"""The values of `SERIES`, and the seconds since the first scrape as `at`."""


def scrape(url: str, key: str) -> Scrape:
    """Read the metrics once.

    Args:
        url: of `/metrics`.
        key: `CSM_METRICS_KEY`; empty if the port needs none.

    Raises:
        requests.RequestException: there are no metrics at `url`, or the key is wrong.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = requests.get(url, headers=headers, timeout=5)
    answer.raise_for_status()
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples if sample.name in SERIES}


@contextmanager
def scraping(url: str, key: str, every: float = 1.0) -> Iterator[list[Scrape]]:
    """Scrape in a thread until the block ends; the list grows meanwhile. A scrape that fails is left out."""
    scrapes: list[Scrape] = []
    began, ended = monotonic(), threading.Event()

    def collect() -> None:
        while not ended.is_set():
            with suppress(requests.RequestException):
                scrapes.append({"at": monotonic() - began} | scrape(url, key))
            ended.wait(every)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    try:
        yield scrapes
    finally:
        ended.set()
        thread.join()
