"""The agent's loop in `examples/`, against the real server with the demo model."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.agent import Conversation
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = pytest.mark.slow

HEARD = synthetic_speech(1.5)


def test_each_answer_is_spoken_after_the_latest_turns(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.agent.MAX_TURNS", 2)
    conversation = Conversation(served.address, served.key)
    # Refused by the server if it were sent.
    conversation.turns = [{"speaker": "user", "text": "Long ago.", "audio": "AAAA"}]
    for number in range(2):
        conversation.hear(HEARD, "A question?")
        conversation.hear(HEARD, "Well?")
        assert conversation.answer(f"Answer {number}.").startswith(b"fLaC")
    assert [turn["speaker"] for turn in conversation.turns[1:]] == ["user", "user", "agent"] * 2


def test_a_refusal_is_told(served: Any) -> None:
    conversation = Conversation(served.address, served.key, voice="nobody")
    with pytest.raises(RuntimeError, match="no voice"):
        conversation.answer("Hello.")
    assert not conversation.turns


def test_the_program(served: Any, tmp_path: Path) -> None:
    environment = os.environ | {"VOICE_SERVER_URL": served.address, "VOICE_SERVER_KEY": served.key}
    command = [sys.executable, "-m", "examples.agent", str(VOICE), "What is said.", "Yes.", str(VOICE), "And?", "No."]
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote answer-1.flac\nwrote answer-2.flac\n"
    assert (tmp_path / "answer-2.flac").read_bytes().startswith(b"fLaC")
