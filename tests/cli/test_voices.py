"""`csm voices` on a folder here and on a real server, with the same results."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csm.cli import main
from tests.corpus.voices import voice_file
from tests.real_server import real_server
from tests.reference_audio import VOICE
from tests.speech.voices.stored_files import stored_files

ADD = ["add", "Ann", str(VOICE), "--transcript", "Heard before.", "--consent", "I am the speaker."]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODEL": "demo", "PRECISION": "float32", "VOICES_DIR": str(tmp_path / "voices")}.items():
        monkeypatch.setenv(f"CSM_{name}", value)
    return tmp_path / "voices"


@pytest.fixture(params=["here", pytest.param("on a server", marks=pytest.mark.slow)])
def where(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Return the options that choose where the voices are."""
    if request.param == "here":
        yield []
        return
    with real_server(tmp_path, voices_dir=folder, precision="float32", slots=1) as server:
        yield ["--url", f"http://127.0.0.1:{server.port}", "--key", "secret"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    capsys.readouterr()
    assert main(["voices", *arguments]) == status
    out, err = capsys.readouterr()
    return err if status else out


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    voice: dict[str, Any] = json.loads(run(capsys, *arguments))
    return voice


def test_a_voice_is_added_shown_moved_and_deleted(
    where: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = shown(capsys, *where, *ADD)
    assert (made["name"], made["transcript"], made["consent"]) == ("Ann", "Heard before.", "I am the speaker.")
    lines = run(capsys, *where, "list").splitlines()
    assert made["id"] in lines[0] and lines[0].endswith("Ann") and "shared" in lines[1] and lines[1].endswith("default")
    for word in ("Ann", made["id"]):
        assert shown(capsys, *where, "show", word)["id"] == made["id"]
    assert "a voice of this name" in run(capsys, *where, *ADD, status=1)
    file = tmp_path / "ann.safetensors"
    run(capsys, *where, "export", "Ann", "-o", str(file))
    run(capsys, *where, "delete", "Ann")
    assert stored_files(folder) == []
    assert "there is no voice Ann" in run(capsys, *where, "delete", "Ann", status=1)
    again = shown(capsys, *where, "import", str(file), "--name", "Bea")
    assert (again["name"], again["transcript"]) == ("Bea", "Heard before.")
    assert "everybody" in run(capsys, *where, "delete", "default", status=1)


def test_voices_of_another_owner_are_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder).mkdir()
    (folder / f"voice_{'1' * 32}.safetensors").write_bytes(voice_file(name="Ann", owner="alice").to_bytes())
    assert "Ann" in run(capsys, "--owner", "alice", "list") and "Ann" not in run(capsys, "list")
    assert run(capsys, "owners").split() == ["1", "alice"]
    assert run(capsys, "--owner", "alice", "give", "Ann", "bob").split() == ["1", "bob"]
    with pytest.raises(SystemExit):
        main(["voices", "--url", "http://127.0.0.1:9", "owners"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "a/b", str(VOICE), "--consent", "I am the speaker."], "no slash"),
        (["add", "Ann", str(VOICE), "--consent", "no"], "a statement"),
        (["add", "Ann", "missing.wav", "--consent", "I am the speaker."], "missing.wav: No such file"),
        (["import", "missing.safetensors"], "missing.safetensors: No such file"),
        (["show", "nobody"], "no voice nobody"),
        (["--url", "http://127.0.0.1:9", "list"], "cannot be reached"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    arguments: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = run(capsys, *arguments, status=1)
    assert told in message and "loading" not in message


def test_without_a_folder_nothing_can_be_added(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CSM_VOICES_DIR")
    message = run(capsys, *ADD, status=1)
    assert "CSM_VOICES_DIR" in message and "loading" not in message
    assert "default" in run(capsys, "list")
