"""Two servers on one folder of voices: what one changes counts for the other, and neither undoes it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from csm.settings import load
from csm.speech.voices import disk
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file
from tests.paths import ROOT
from tests.speech.voices.stored_files import stored_files

OTHER_SERVER = """
import fcntl, os, sys
from csm.errors import CsmError
from csm.settings import load
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file

library = VoiceLibrary.from_settings(load(None, voices_dir=sys.argv[1], max_voices=12))
print("ready", flush=True)
for line in sys.stdin:
    action, argument = line.split()
    try:
        if action == "add":
            answer = library.add(voice_file(name=argument), "alice").name
        elif action == "delete":
            answer = library.delete("alice", argument) or "deleted"
        else:
            descriptor = os.open(os.path.join(argument, ".lock"), os.O_WRONLY)
            try:
                answer = fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) or "free"
            except BlockingIOError:
                answer = "locked"
            finally:
                os.close(descriptor)
    except CsmError as error:
        answer = type(error).__name__
    print(answer, flush=True)
"""


class OtherServer:
    """A process that changes the voices in a folder.

    Args:
        folder: of the voices.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER_SERVER, str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def begin(self, action: str, argument: object) -> None:
        """Have a voice added or deleted, or the lock of a folder tried."""
        assert self._process.stdin is not None
        print(action, argument, file=self._process.stdin, flush=True)

    def answer(self) -> str:
        """Wait for the next result: a word, a name, or the name of an error."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


@pytest.fixture
def library(folder: Path) -> VoiceLibrary:
    return VoiceLibrary.from_settings(load(None, voices_dir=folder, max_voices=12))


@pytest.fixture
def others(folder: Path, library: VoiceLibrary) -> Iterator[list[OtherServer]]:
    servers = [OtherServer(folder) for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


def test_two_servers_together_store_as_many_voices_as_are_allowed(
    others: list[OtherServer], library: VoiceLibrary
) -> None:
    for number in range(10):
        for index, server in enumerate(others):
            server.begin("add", f"voice-{index}-{number}")
    answers = [server.answer() for _ in range(10) for server in others]
    assert answers.count("Conflict") == 8
    assert len([info for info in library.available("alice") if info.owner]) == 12


def test_two_servers_give_a_name_once(others: list[OtherServer], library: VoiceLibrary) -> None:
    for number in range(10):
        for server in others:
            server.begin("add", f"voice-{number}")
    answers = [server.answer() for _ in range(10) for server in others]
    assert answers.count("Conflict") == 10
    kept = sorted(info.name for info in library.available("alice") if info.owner)
    assert kept == [f"voice-{number}" for number in range(10)]


@pytest.mark.parametrize("change", ["rename", "update"])
def test_a_change_does_not_bring_back_what_another_server_deletes_meanwhile(
    change: str, others: list[OtherServer], library: VoiceLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    voice, write, lock = library.read("alice", info.id), disk.write, []

    def write_while_the_other_deletes(path: Path, content: bytes) -> None:
        others[0].begin("try", folder)
        lock.append(others[0].answer())
        others[0].begin("delete", info.id)
        write(path, content)

    monkeypatch.setattr("csm.speech.voices.disk.write", write_while_the_other_deletes)
    if change == "rename":
        library.rename("alice", info.id, "Bea")
    else:
        library.update(voice)
    assert others[0].answer() == "deleted" and lock == ["locked"]
    library.update(voice)
    assert not [*folder.glob("*.safetensors")] and lock == ["locked"]


def test_a_server_that_starts_does_not_break_a_write_in_progress(
    library: VoiceLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, starting = os.replace, []

    def start_another(source: str, target: str) -> None:
        starting.append(threading.Thread(target=VoiceLibrary.sweep, args=(library,)))
        starting[0].start()
        starting[0].join(0.5)
        replace(source, target)

    monkeypatch.setattr("os.replace", start_another)
    info = library.add(voice_file(name="Ann"), "alice")
    starting[0].join(60)
    assert library.get("alice", info.id) == info and len(stored_files(folder)) == 1
