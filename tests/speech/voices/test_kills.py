"""A process that is killed while it writes a voice leaves the old one or the new one, never half of one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from csm.settings import load
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file
from tests.paths import ROOT
from tests.speech.voices.stored_files import stored_files

CHANGE = """
import os, signal, sys
from csm.settings import load
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file

folder, change, fatal = sys.argv[1], sys.argv[2], int(sys.argv[3])
library = VoiceLibrary.from_settings(load(None, voices_dir=folder))
[ann] = [info for info in library.available("alice") if info.name == "Ann"]
calls = 0

def deadly(name):
    real = getattr(os, name)

    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == fatal:
            if name == "write":
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, name, call)

for name in ("open", "write", "fsync", "close", "replace", "unlink"):
    deadly(name)
if change == "add":
    library.add(voice_file(1, name="Bea"), "alice")
elif change == "rename":
    library.rename("alice", ann.id, "Bea")
else:
    library.delete("alice", ann.id)
"""

STATES = {"add": (["Ann"], ["Ann", "Bea"]), "rename": (["Ann"], ["Bea"]), "delete": (["Ann"], [])}
"""The names before and after each change."""


@pytest.mark.slow
@pytest.mark.parametrize("change", STATES)
def test_every_kill_leaves_the_old_or_the_new(change: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = []
    for fatal in range(1, 30):
        folder = tmp_path / str(fatal)
        library = VoiceLibrary.from_settings(load(None, voices_dir=folder))
        library.add(voice_file(name="Ann"), "alice")
        command = [sys.executable, "-c", CHANGE, str(folder), change, str(fatal)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        again = VoiceLibrary.from_settings(load(None, voices_dir=folder))
        again.sweep()
        voices = [info for info in again.available("alice") if info.owner]
        for info in voices:
            wanted = voice_file(1 if change == "add" and info.name == "Bea" else 0)
            assert again.read("alice", info.id).samples.tolist() == wanted.samples.tolist()
        assert len(stored_files(folder)) == len(voices), "nothing is left over"
        seen.append(sorted(info.name for info in voices))
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
    else:
        pytest.fail("the change never came to its end")
    old, new = STATES[change]
    assert seen[0] == old and seen[-1] == new and seen == [old] * seen.count(old) + [new] * seen.count(new)
    assert len(seen) >= (3 if change == "delete" else 6)
