"""A page of text through the real server: all of it, with others served in between, in bounded memory."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from csm.speech.segments import Limits
from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.real_server import RealServer, clone_request, real_server

pytestmark = pytest.mark.slow

SENTENCE = "This is a sentence of a long text that somebody wants to hear in one voice. "
SENTENCES = {"csm": 130, "transformers": 30}
"""Length of the page for each engine: 9,880 characters, and 2,280 for the slower one."""


@pytest.fixture(scope="module", params=SENTENCES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One slot, and segments of noise, which are all cut off after 0.8 s."""
    limits: dict[str, Any] = {"slots": 1, "queue": 3, "max_audio_seconds": 0.8, "character_limit": ""}
    with real_server(tmp_path_factory.mktemp("pages"), engine=engine, **noise(), **limits) as server:
        assert server.health()["engine"] == engine
        yield server


def resident_megabytes(server: RealServer) -> float:
    status = Path(f"/proc/{server.worker_pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def finished(server: RealServer) -> list[dict[str, str]]:
    lines = [line for line in server.log.read_text().splitlines() if "route=/clone-voice" in line]
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]


def test_every_segment_of_a_page_is_spoken_in_bounded_memory(server: RealServer, engine: str) -> None:
    server.ask(clone_request(text=SENTENCE * 4, max_seconds=""))
    before = resident_megabytes(server)
    answer = server.ask(clone_request(text=SENTENCE * SENTENCES[engine], seed="1", max_seconds=""), timeout=600)
    assert (answer.status, answer.is_complete) == (200, True)
    line = wait_until(lambda: [entry for entry in finished(server) if int(entry["text_chars"]) > 2000])[0]
    assert int(line["segments"]) >= int(line["text_chars"]) / Limits.maximum
    # Every segment has its 0.8 s at least, and a pause behind it.
    assert float(line["audio"]) > 0.8 * int(line["segments"])
    assert line["outcome"] == "ok" and line["finish"] in ("stop", "length", "silence", "repeat")
    assert resident_megabytes(server) - before < 50


def test_a_second_client_is_served_between_two_segments(server: RealServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(lambda: (server.ask(clone_request(text=SENTENCE * 40, max_seconds="")), monotonic()))
        wait_until(lambda: server.health()["running"] == 1)
        short = server.ask(clone_request(text="Just this.", max_seconds=""))
        ended = monotonic()
        answer, long_ended = long.result()
    assert short.status == answer.status == 200 and short.is_complete and answer.is_complete
    assert ended < long_ended
