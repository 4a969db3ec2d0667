"""Playing through whatever player there is; stand-ins note what they are given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from csm.audio.encoders.wav import header, streaming_header
from csm.cli.player import Player, PlayerError

PCM = [b"\1\0" * 2000, b"\2\0" * 100_000]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make a program of this name the only one on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name: str, script: str) -> None:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        program.chmod(0o755)

    return write


def play() -> None:
    player = Player()
    for piece in PCM:
        player.feed(piece)
    player.finish()


@pytest.mark.parametrize("name", ["ffplay", "aplay"])
def test_players_that_read_a_pipe_are_fed_a_stream(
    name: str, install: Callable[[str, str], None], tmp_path: Path
) -> None:
    install(name, f'echo "$*" > {tmp_path}/arguments; cat > {tmp_path}/heard')
    play()
    assert (tmp_path / "heard").read_bytes() == streaming_header(24_000) + b"".join(PCM)
    assert (tmp_path / "arguments").read_text().endswith("-\n")


def test_a_player_that_reads_files_gets_one_of_known_length(
    install: Callable[[str, str], None], tmp_path: Path
) -> None:
    install("afplay", f'cp "$1" {tmp_path}/heard; echo "$1" > {tmp_path}/arguments')
    play()
    pcm = b"".join(PCM)
    assert (tmp_path / "heard").read_bytes() == header(24_000, len(pcm)) + pcm
    assert not Path((tmp_path / "arguments").read_text().strip()).exists()


def test_a_player_that_fails_is_an_error(install: Callable[[str, str], None]) -> None:
    install("ffplay", "exit 3")
    with pytest.raises(PlayerError, match="ffplay ended with status 3"):
        play()


def test_a_player_that_the_user_closes_is_none(install: Callable[[str, str], None]) -> None:
    install("ffplay", "head -c 100 > /dev/null; exit 0")
    play()


def test_without_a_player_the_message_names_some(install: Callable[[str, str], None]) -> None:
    with pytest.raises(PlayerError, match="install ffmpeg"):
        Player()
