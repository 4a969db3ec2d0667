"""The image without an engine: its files, its user, its environment and its command, on a read-only file system.

A mount namespace stands for the container: everything is remounted read-only but `/data`, a temporary folder and shared
memory, as with `docker run --read-only --tmpfs /tmp --volume csm-data:/data`. Needs root.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples import demo
from tests import mount_namespaces
from tests.packaging.dockerfile import ROOT, Dockerfile, enters_the_build

ours = Dockerfile.ours()
UID = ours.last("USER").split(":")[0]
KEY = "a-key-for-the-container"

# Nothing may be written below / but on the three mounts. Reading and entering any folder is allowed, because the
# interpreter of a test run may live in a home that this user could not enter; the image has its own.
NAMESPACE = f"""
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/app /mnt/data /mnt/tmp
mount --bind "$APP" /mnt/app
mount --bind "$DATA" /mnt/data
mount -t tmpfs -o mode=1777 tmpfs /mnt/tmp
for place in /mnt/app /mnt /; do mount -o remount,bind,ro "$place"; done
if [ "$(stat -f -c %T /tmp)" = tmpfs ]; then mount -o remount,bind,ro /tmp; fi
cd /mnt/app
exec setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs \
    --inh-caps -all,+dac_read_search --ambient-caps -all,+dac_read_search --bounding-set -all,+dac_read_search "$@"
"""


pytestmark = [pytest.mark.slow, mount_namespaces.needed]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The files of the image below /app."""
    app = tmp_path_factory.mktemp("app")
    for source, _ in ours.copies:
        paths = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*")
        for path in paths:
            inside = str(path.relative_to(ROOT))
            if path.is_file() and enters_the_build(inside):
                (app / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, app / inside)
    return app


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, int(UID), int(UID))
    return folder


def container(image: Path, data: Path, log: Path, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
    inside = {name: value.replace("/data", "/mnt/data") for name, value in ours.environment.items()}
    inside |= {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": "/mnt/tmp", **environment}
    outside = {"APP": str(image), "DATA": str(data), "PATH": os.environ["PATH"]}
    settings = [f"{name}={value}" for name, value in inside.items()]
    run = ["unshare", "--mount", "bash", "-c", NAMESPACE, "container", "env", "-i", *settings, *command]
    with log.open("wb") as sink:
        return subprocess.Popen(run, env=outside, stdout=sink, stderr=subprocess.STDOUT)


def command() -> list[str]:
    assert ours.command[0] == "python"
    return [sys.executable, *ours.command[1:]]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_namespace_is_read_only(image, data, tmp_path):
    """Writes that a container would refuse are refused here."""
    folders = ["/mnt/app", "/mnt", "/tmp", "/var/tmp", str(tmp_path), "/mnt/data", "/mnt/tmp"]
    probe = "for place; do touch $place/probe 2>/dev/null && echo $place; done; id -u"
    log = tmp_path / "log"
    container(image, data, log, ["bash", "-c", probe, "probe", *folders]).wait(30)
    assert log.read_text().split() == ["/mnt/data", "/mnt/tmp", UID]


def test_refuses_to_start_without_keys(image, data, tmp_path):
    log = tmp_path / "log"
    assert container(image, data, log, command(), CSM_MODEL="demo").wait(60) != 0
    assert "CSM_API_KEYS" in log.read_text()
    assert len(log.read_text().splitlines()) == 1


def test_serves_and_stops(image, data, tmp_path):
    before = files(image)
    port, log = str(demo._free_port()), tmp_path / "log"
    process = container(image, data, log, command(), CSM_MODEL="demo", CSM_API_KEYS=KEY, CSM_PORT=port)
    server = demo.Server(int(port), process, log)
    try:
        health = demo.wait_until_healthy(server, 180)
        assert health["status"] == "healthy"
        check = json.loads(ours.last("HEALTHCHECK").split("CMD", 1)[1])
        assert subprocess.run([sys.executable, *check[1:]], env={"CSM_PORT": port}).returncode == 0
        answer = demo.clone_voice(
            int(port), KEY, demo.REFERENCE.read_bytes(), demo.REFERENCE.name, {"text": "Inside.", "max_seconds": "2"}
        )
        assert answer.status == 200, answer.body
        assert len(answer.body) > 44
    finally:
        process.send_signal(getattr(signal, ours.last("STOPSIGNAL")))
        code = process.wait(60)
    assert code == 0, log.read_text()
    assert files(image) == before


def test_the_health_check_fails_while_nothing_is_ready():
    check = json.loads(ours.last("HEALTHCHECK").split("CMD", 1)[1])
    result = subprocess.run([sys.executable, *check[1:]], env={"PORT": str(demo._free_port())}, capture_output=True)
    assert result.returncode != 0


def test_the_doctor_finds_nothing_to_do(image, data, tmp_path):
    log = tmp_path / "log"
    doctor = [sys.executable, "-m", "csm", "doctor"]
    status = container(image, data, log, doctor, CSM_MODEL="demo", CSM_API_KEYS=KEY, CSM_DEVICE="cpu").wait(60)
    assert status == 0, log.read_text()
    assert "GB free in /mnt/data" in log.read_text()
