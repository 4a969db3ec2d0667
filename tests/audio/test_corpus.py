"""The corpus against decoding and conditioning alone; the suite over HTTP reuses it."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from csm.audio.condition import condition
from csm.audio.decode import decode, ffmpeg_path
from csm.audio.encoders import wav
from csm.audio.encoders.pcm import pcm16
from csm.errors import UndecodableAudio, UnusableReference
from tests.corpus import Bait, cases, mutants
from tests.corpus.ffmpeg import encode
from tests.corpus.valid import valid
from tests.process_probes import (
    ANYTHING,
    WRITES,
    FileWatch,
    Listener,
    children,
    descriptors,
    reset_peak,
    resident_peak_mb,
)

pytestmark = pytest.mark.slow

SEED = 2026


def status(data):
    """Return the status that a server would answer with."""
    try:
        condition(decode(data, 60.0), 30.0)
    except UndecodableAudio:
        return 415
    except UnusableReference:
        return 422
    return 200


def verdicts(corpus):
    """Yield the cases that got a wrong status; a decoder that hangs raises."""
    for case in corpus:
        got = status(case.data)
        if got not in case.expect:
            yield f"{case.name}: {got}"


@pytest.fixture(scope="module")
def trap(tmp_path_factory, speech):
    """A recording that nothing may open and a port that nothing may call."""
    canary = tmp_path_factory.mktemp("canary") / "canary.wav"
    body = pcm16(speech.samples)
    canary.write_bytes(wav.header(speech.sample_rate, len(body)) + body)
    with Listener() as listener, FileWatch([canary], ANYTHING) as watch:
        yield canary, listener, watch


@pytest.fixture(scope="module")
def corpus(trap):
    canary, listener, _ = trap
    return cases(SEED, Bait(str(canary), listener.port))


@pytest.fixture
def nothing_left(trap, tmp_path, monkeypatch):
    """After the test: no process, descriptor, file, visit to the trap, or memory beyond 300 MB."""
    _, listener, watch = trap
    status((Path(__file__).parents[2] / "examples" / "voice.webm").read_bytes())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    reset_peak()
    before, memory = (children(), descriptors()), resident_peak_mb()
    with FileWatch([tmp_path], WRITES) as writes:
        yield
        assert not writes.events()
    assert (children(), descriptors()) == before
    assert not watch.events() and not listener.visitors()
    assert resident_peak_mb() < memory + 300


def test_the_corpus_has_sixty_cases_with_distinct_names(corpus):
    assert len({case.name for case in corpus}) == len(corpus) >= 60
    assert max(len(case.data) for case in corpus) < 9_000_000, "the server would refuse it unread"


@pytest.mark.usefixtures("nothing_left")
def test_every_case_gets_an_expected_status_and_leaves_nothing_behind(corpus):
    assert list(verdicts(corpus)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_damaged_recordings_get_a_status_and_leave_nothing_behind():
    """A few; `tests/hostile` sends hundreds to a server, and `make fuzz` thousands."""
    damaged = (mutant for case in valid() for mutant in mutants(case, 2, SEED))
    assert list(verdicts(damaged)) == []


@pytest.mark.parametrize(
    ("name", "options", "reaches"),
    [
        ("lure-hls-as-playlist", ["-allowed_extensions", "ALL"], "file"),
        ("lure-concat-local", ["-safe", "0"], "file"),
        ("lure-concat-remote", ["-safe", "0"], "port"),
        ("lure-mov-data-reference", ["-enable_drefs", "1", "-use_absolute_path", "1"], "file"),
    ],
)
def test_an_unrestricted_ffmpeg_follows_the_references_of_the_corpus(trap, corpus, tmp_path, name, options, reaches):
    """Without restrictions, ffmpeg opens the canary and connects to the port, so the tests above can fail."""
    _, listener, watch = trap
    case = next(case for case in corpus if case.name == name)
    (tmp_path / case.filename).write_bytes(case.data)
    unrestrained = [ffmpeg_path(), "-nostdin", "-v", "quiet", "-protocol_whitelist", "file,http,tcp", *options]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([*unrestrained, "-i", tmp_path / case.filename, "-f", "null", "-"], timeout=5, check=False)
    reached = {"file": bool(watch.events()), "port": bool(listener.visitors())}
    assert reached[reaches]


def test_the_watch_sees_a_file_that_is_written(tmp_path):
    with FileWatch([tmp_path], WRITES) as watch:
        assert not watch.events()
        (tmp_path / "audio").write_bytes(b"x")
        assert watch.events()


def test_the_same_seed_gives_the_same_bytes(corpus):
    made = {case.name: case.data for case in corpus}
    again = encode("-c:a", "libopus", "-b:a", "32k", suffix=".opus")
    assert made["ogg-opus"] == again
    case = valid()[0]
    assert [*mutants(case, 5, 1)] == [*mutants(case, 5, 1)] != [*mutants(case, 5, 2)]


def test_damaged_recordings_differ_from_their_original():
    case = valid()[0]
    assert sum(mutant.data == case.data for mutant in mutants(case, 50, SEED)) < 5


def test_the_process_writes_no_audio_to_storage():
    """The kernel's own count of bytes sent towards a disk by this process; the decoder's limit is zero anyway."""
    data = encode(suffix=".flac")
    before = _written()
    for _ in range(10):
        decode(data, 30.0)
    assert _written() == before


def _written():
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
