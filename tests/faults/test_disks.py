"""Disks are read-only or full: the server starts and serves, because it writes nothing."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import mount_namespaces
from tests.noise_checkpoint import noise
from tests.paths import ROOT
from tests.real_server import RealServer, clone_request, real_server

pytestmark = [pytest.mark.slow, mount_namespaces.needed]

# Shared memory is no disk: gunicorn's heartbeat is in it, and containers with a read-only root have it too.
READ_ONLY = """
set -e
for place in /tmp /; do
    mountpoint -q $place || mount --bind $place $place
    mount -o remount,bind,ro $place
done
"""
# A checkout below one of these places stays in sight: the old one is the working folder, and is mounted on its name.
FULL = f"""
set -e
code={shlex.quote(str(ROOT))}
cd "$code"
for place in /tmp /var/tmp /dev/shm; do
    mount -t tmpfs -o size=16k tmpfs $place
    case "$code" in $place/*) mkdir -p "$code"; mount --no-canonicalize --bind . "$code" ;; esac
    dd if=/dev/zero of=$place/rest 2>/dev/null || true
done
export HOME=/tmp
cd /tmp
"""
PROOF = """
for place in /tmp /var/tmp "$HOME" .; do
    if echo proof 2>/dev/null >"$place/proof"; then exit 99; fi
done
exec "$@"
"""


def inside(script: str, *command: str) -> tuple[str, ...]:
    """A command in a namespace of its own, where not even a word can be written, or it is not run."""
    return ("unshare", "--mount", "--propagation", "private", "bash", "-c", script + PROOF, "bash", *command)


@pytest.fixture(scope="module", params=[READ_ONLY, FULL], ids=["read-only", "full"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    command = inside(request.param, sys.executable, str(ROOT / "sesame_server.py"))
    with real_server(tmp_path_factory.mktemp("disk"), command, **noise()) as server:
        yield server


def test_the_server_serves(server: RealServer) -> None:
    server.assert_serves()


def test_large_reference_audio_needs_no_disk(server: RealServer, minute: bytes) -> None:
    answer = server.ask(clone_request(minute, "voice.wav"))
    assert (answer.status, answer.is_complete) == (200, True)


@pytest.fixture(scope="module")
def minute() -> bytes:
    """Ten megabytes, nearly."""
    from tests.reference_audio import synthetic_speech

    return synthetic_speech(seconds=95)


def test_health_says_that_there_is_no_space_for_a_prepared_model(tmp_path: Path) -> None:
    command = inside(FULL, sys.executable, str(ROOT / "sesame_server.py"))
    with real_server(tmp_path, command, healthy=False, precision="int8") as server:
        health = server.await_status("healthy", "unhealthy")
        assert health["status"] == "unhealthy" and "CSM_CACHE_DIR" in health["reason"]
        assert server.ask(clone_request()).status == 503
