"""The whole corpus of hostile requests over HTTP, against the real server with the demo model."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from csm.audio.decode import decode
from csm.audio.encoders import wav
from csm.audio.encoders.pcm import pcm16
from tests import process_probes, raw_http, summary_tables
from tests.corpus import Bait, cases, mutants
from tests.corpus.conversations import cases as conversation_cases
from tests.corpus.json_bodies import cases as json_cases
from tests.corpus.multipart import cases as multipart_cases
from tests.corpus.valid import valid
from tests.noise_checkpoint import noise
from tests.polling import wait_until
from tests.real_server import clone_request, real_server
from tests.reference_audio import VOICE
from tests.web.requests import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = 2026
HANG_SECONDS = 120.0
"""After which an answer counts as never coming; the server's own limits are below 20 s."""

MAX_MEMORY_MB = 300
"""Peak above what a warm worker has: a minute at 192 kHz takes 46 MB, its conditioning twice that."""

EMPTY = frozenset({400})
OPENAI_ERROR = {"message", "type", "param", "code"}
PROBLEM = {"type", "title", "status", "detail", "request_id", "error"}


@dataclass(frozen=True)
class Attempt:
    """One request of the corpus.

    Attributes:
        group: its row in the table.
        name: of its class.
        request: every byte of it.
        expect: statuses that are right.
    """

    group: str
    name: str
    request: bytes
    expect: frozenset[int]


@dataclass
class Trap:
    """A recording that nothing may open and a port that nothing may connect to."""

    bait: Bait
    listener: process_probes.Listener
    watch: process_probes.FileWatch


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    speech = decode(VOICE.read_bytes(), 5.0)
    canary = tmp_path_factory.mktemp("canary") / "canary.wav"
    body = pcm16(speech.samples)
    canary.write_bytes(wav.header(speech.sample_rate, len(body)) + body)
    with process_probes.Listener() as listener, process_probes.FileWatch([canary], process_probes.ANYTHING) as seen:
        yield Trap(Bait(str(canary), listener.port), listener, seen)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the server runs, and where it would put temporary files."""
    return tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(folders):
    home, temporary = folders
    surroundings = {"TMPDIR": str(temporary)}
    # Voices are kept within bounds of their own, which are not the question here.
    settings: dict[str, Any] = {"slots": 1, "queue": 2, "voice_cache_mb": 8, "log_level": "WARNING"}
    with real_server(home, environment=surroundings, **noise(), **settings) as server:
        server.assert_serves()
        yield server


@contextmanager
def nothing_left(config, server, trap, temporary):
    """Assert that nothing is left afterwards: no descriptor, child or file, no access to the trap, little memory."""
    pid = server.worker_pid
    process_probes.reset_peak(pid)
    files, memory, folder = (
        process_probes.descriptors(pid),
        process_probes.resident_peak_mb(pid),
        set(temporary.iterdir()),
    )
    with process_probes.FileWatch([temporary], process_probes.WRITES) as writes:
        yield
        assert not writes.events()
    assert set(temporary.iterdir()) == folder
    server.assert_serves()
    assert server.worker_pid == pid
    wait_until(lambda: not process_probes.children(pid))
    wait_until(lambda: process_probes.descriptors(pid) <= files + 2, 20)
    assert not trap.watch.events() and not trap.listener.visitors()
    grown = process_probes.resident_peak_mb(pid) - memory
    summary_tables.add(config, "Memory of the worker, MB", ("before", "grown by at most"), [(memory, grown)])
    assert grown < MAX_MEMORY_MB


def fault(server, attempt: Attempt) -> str | None:
    """Return what is wrong with the answer, or None."""
    try:
        answer = server.ask(attempt.request, timeout=HANG_SECONDS)
    except TimeoutError:
        return "no answer"
    if answer.status not in attempt.expect:
        return f"{answer.status} instead of {sorted(attempt.expect)}: {answer.body[:200]!r}"
    if not answer.is_complete:
        return "incomplete"
    if answer.status == 200 and attempt.group == "watermark":
        return None if json.loads(answer.body).keys() == {"marked", "confidence", "seconds"} else "no report"
    if answer.status == 200:
        return None if answer.body.startswith(b"RIFF") else "no WAV"
    if answer.headers["content-type"] == "text/html" and attempt.group in ("multipart", "json"):
        return None  # gunicorn's own answer to what is no HTTP
    document = json.loads(answer.body)
    if attempt.group == "json":
        return None if document["error"].keys() == OPENAI_ERROR else "no error in OpenAI's shape"
    return None if document.keys() >= PROBLEM else "no problem document"


def send(config, title, server, attempts: Iterable[Attempt]) -> list[str]:
    """Send all requests, print a table of the results and return what was wrong."""
    tried: Counter[str] = Counter()
    wrong: list[tuple[Attempt, str]] = []
    for attempt in attempts:
        tried[attempt.group] += 1
        if found := fault(server, attempt):
            wrong.append((attempt, found))
    failed = Counter(attempt.group for attempt, _ in wrong)
    rows = [(group, count, count - failed[group]) for group, count in tried.items()]
    rows.append(("all", tried.total(), tried.total() - failed.total()))
    summary_tables.add(config, title, ("class", "tried", "passed"), rows)
    return [f"{attempt.name}: {found}" for attempt, found in wrong]


def upload(group, case):
    """Return an upload; an empty file is refused with the form, before it is decoded."""
    return Attempt(group, case.name, clone_request(case.data, case.filename), case.expect if case.data else EMPTY)


def test_every_upload_gets_an_expected_answer(pytestconfig, server, trap, folders):
    formats = {case.name for case in valid()}
    attempts = [
        upload("format" if case.name in formats else case.name.partition("-")[0], case)
        for case in cases(SEED, trap.bait)
    ]
    attempts += [
        Attempt("multipart", f"multipart-{case.name}", case.raw, case.expect) for case in multipart_cases(SEED, KEY)
    ]
    bait = f"http://127.0.0.1:{trap.listener.port}/"
    attempts += [Attempt("json", f"json-{case.name}", case.raw, case.expect) for case in json_cases(SEED, KEY, bait)]
    attempts += [
        Attempt("conversation", f"conversation-{case.name}", case.raw, case.expect)
        for case in conversation_cases(SEED, KEY, bait)
    ]
    assert len({attempt.name for attempt in attempts}) >= 75
    with nothing_left(pytestconfig, server, trap, folders[1]):
        assert not send(pytestconfig, "Hostile uploads", server, attempts)


def test_every_recording_is_examined_for_a_mark_or_refused(pytestconfig, server, trap, folders):
    attempts = []
    for case in cases(SEED, trap.bait):
        body = raw_http.part("audio", case.data, case.filename) + f"--{raw_http.BOUNDARY}--\r\n".encode()
        # Silence and short recordings can be examined too, or are refused for other reasons.
        expect = case.expect | {200, 422} if case.data else EMPTY
        attempts.append(Attempt("watermark", case.name, raw_http.post(body, "/watermark"), expect))
    with nothing_left(pytestconfig, server, trap, folders[1]):
        assert not send(pytestconfig, "Recordings to examine", server, attempts)


def test_every_damaged_recording_gets_an_expected_answer(pytestconfig, server, trap, folders):
    count = math.ceil(pytestconfig.getoption("mutants", 300) / len(valid()))
    attempts = (
        upload(mutant.name.rpartition("-")[2], mutant) for case in valid() for mutant in mutants(case, count, SEED)
    )
    with nothing_left(pytestconfig, server, trap, folders[1]):
        assert not send(pytestconfig, "Damaged recordings", server, attempts)
