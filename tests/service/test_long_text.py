"""A page of text through the real server: all of it, with others served in between, in bounded memory."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from csm.speech.segments import DEFAULT_LIMITS, DEMO_LIMITS, split
from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.raw_http import Answer
from tests.real_server import RealServer, clone_request, real_server

pytestmark = pytest.mark.slow

SENTENCE = "This is a sentence of a long text that somebody wants to hear in one voice. "
SENTENCES = {"csm": 130, "transformers": 30, "speech": 30}
"""Length of the page: 9,880 characters of noise, 2,280 with the slower engine, and 2,280 that the demo model speaks."""
SEGMENT_SECONDS = 0.8
"""Of noise, in which every segment is cut off."""


@pytest.fixture(scope="module", params=SENTENCES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One slot. Noise is quick and never becomes context; speech does, and is kept for the next segments."""
    settings: dict[str, Any] = {"slots": 1, "queue": 3, "character_limit": ""}
    if engine != "speech":
        settings |= noise() | {"engine": engine, "max_audio_seconds": SEGMENT_SECONDS}
    with real_server(tmp_path_factory.mktemp("pages"), **settings) as server:
        yield server


def resident_megabytes(server: RealServer) -> float:
    status = Path(f"/proc/{server.worker_pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def finished(server: RealServer) -> list[dict[str, str]]:
    lines = [line for line in server.log.read_text().splitlines() if "route=/clone-voice" in line]
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]


def answer_and_peak(server: RealServer, text: str) -> tuple[Answer, float]:
    """Return the answer to a text, and the server's maximum of memory meanwhile, in megabytes."""
    peak = 0.0
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.ask, clone_request(text=text, seed="1", max_seconds=""), timeout=600)
        while not asked.done():
            peak = max(peak, resident_megabytes(server))
            wait([asked], timeout=0.1)
    return asked.result(), peak


def test_every_segment_of_a_page_is_spoken_in_bounded_memory(server: RealServer, engine: str) -> None:
    text = SENTENCE * SENTENCES[engine]
    for _ in range(2):
        _, peak_of_few = answer_and_peak(server, SENTENCE * 8)
    answer, peak = answer_and_peak(server, text)
    assert (answer.status, answer.is_complete) == (200, True)
    line = wait_until(lambda: [entry for entry in finished(server) if int(entry["text_chars"]) > 2000])[0]
    limits = DEMO_LIMITS if engine == "speech" else DEFAULT_LIMITS
    segments = split(text, limits)
    assert int(line["segments"]) == len(segments) >= len(text) / limits.maximum
    if engine == "speech":
        # Nobody says a sentence of 76 characters in less, so that segments that were left out would show.
        assert float(line["audio"]) > 2.5 * SENTENCES[engine]
    else:
        # Each has at least its 0.8 s and its pause; those that were made again in pieces have more.
        assert float(line["audio"]) >= sum(SEGMENT_SECONDS + segment.pause for segment in segments)
    assert line["outcome"] == "ok" and line["finish"] in ("stop", "length", "silence", "repeat")
    assert peak - peak_of_few < 50


def test_a_second_client_is_served_between_two_segments(server: RealServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(lambda: (server.ask(clone_request(text=SENTENCE * 40, max_seconds="")), monotonic()))
        wait_until(lambda: server.health()["running"] == 1)
        short = server.ask(clone_request(text="Just this.", max_seconds=""))
        ended = monotonic()
        answer, long_ended = long.result()
    assert short.status == answer.status == 200 and short.is_complete and answer.is_complete
    assert ended < long_ended
