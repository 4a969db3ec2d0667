"""A bundle is made in a process of its own, which takes its memory with it and answers for itself."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from csm import settings
from csm.engine.openvino.bundle import folder_of, open_bundle
from csm.engine.openvino.prepare import DONE
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint, open_checkpoint
from tests.tiny_checkpoints import save

HEAVY = ("nncf", "torch._dynamo", "transformers.modeling_utils", "transformers.models.mimi.modeling_mimi")

OPEN = """
import sys
from pathlib import Path
from csm import settings
from csm.engine.openvino.bundle import open_bundle
from csm.engine.openvino.runtime import OpenVinoRuntime
from csm.model.checkpoint import open_checkpoint
import csm.speech.build
given = settings.load(None, cache_dir=Path(sys.argv[2]))
OpenVinoRuntime(open_bundle(given, open_checkpoint(Path(sys.argv[1])), "int8"), 2)
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(save(tmp_path_factory.mktemp("checkpoint")))


def start(checkpoint: Checkpoint, cache: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", OPEN, str(checkpoint.folder), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def preparing(parent: int) -> psutil.Process:
    """The process that prepares for this one, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(parent).children():
            # It may be short-lived: one that has ended is not the one.
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if "csm.engine.openvino.prepare" in child.cmdline():
                    return child
        time.sleep(0.01)
    raise AssertionError("nobody prepares")


@pytest.mark.slow
def test_a_server_opens_the_bundle_of_another_process_without_importing_the_exporter(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    output, errors = start(checkpoint, tmp_path).communicate(timeout=300)
    assert "csm.engine.openvino.bundle" in output.split(), errors
    assert not set(HEAVY) & set(output.split())
    (made,) = tmp_path.glob("*/" + DONE)
    assert json.loads(made.read_text())["precision"] == "int8"


@contextmanager
def opening(checkpoint: Checkpoint, cache: Path) -> Iterator[list[str]]:
    """`open_bundle` in a thread; what it complains of is in the list when the block is left."""
    complaints: list[str] = []

    def attempt() -> None:
        try:
            open_bundle(settings.load(None, cache_dir=cache), checkpoint, "int8")
        except ModelUnavailable as error:
            complaints.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    yield complaints
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_one_that_the_kernel_ends_is_explained_and_its_half_is_not_taken(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with opening(checkpoint, tmp_path) as complaints:
        preparing(psutil.Process().pid).kill()
    (complaint,) = complaints
    assert "memory" in complaint
    assert not folder_of(settings.load(None, cache_dir=tmp_path), checkpoint, "int8").exists()


@pytest.mark.slow
def test_it_does_not_outlive_the_server(checkpoint: Checkpoint, tmp_path: Path) -> None:
    server = start(checkpoint, tmp_path)
    child = preparing(server.pid)
    server.kill()
    server.communicate()
    child.wait(timeout=30)


def test_a_cache_that_cannot_be_written_is_explained(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelUnavailable, match="CSM_CACHE_DIR"):
        open_bundle(settings.load(None, cache_dir=tmp_path / "file"), checkpoint, "int8")


@pytest.mark.slow
def test_unreadable_weights_are_reported_by_the_process_that_reads_them(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint")
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelUnavailable, match="fetch it again"):
        open_bundle(settings.load(None, cache_dir=tmp_path), open_checkpoint(folder), "int8")
