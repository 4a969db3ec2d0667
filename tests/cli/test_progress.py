"""The line that shows how far it is."""

import io

import pytest

from csm.cli import progress
from csm.cli.progress import WIDTH, Progress

SECOND = 48_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_bar_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 14.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(times))
    stream = Terminal()
    bar = Progress(stream, "x" * 60)  # four seconds at an ordinary pace
    for seconds in (1, 3, 9):
        bar.update(seconds * SECOND)
    bar.finish("out.wav")
    lines = stream.getvalue().split("\r\033[K")[1:]
    assert [line.count("#") for line in lines] == [WIDTH // 4, WIDTH * 3 // 4, WIDTH, 0]
    assert lines[0].endswith("] 1.0 s of audio")
    # Of the two seconds since the first chunk, which took one; then of eight, which took four.
    assert lines[1].endswith("] 3.0 s of audio, real-time factor 0.50")
    assert lines[3] == "out.wav: 9.0 s of audio, real-time factor 0.50\n"


def test_a_log_sees_only_the_result() -> None:
    stream = io.StringIO()
    bar = Progress(stream, "Hello.")
    bar.update(SECOND)
    bar.finish("out.wav")
    assert stream.getvalue() == "out.wav: 1.0 s of audio\n"


def test_nothing_said_is_no_failure_of_the_bar() -> None:
    stream = io.StringIO()
    Progress(stream, "").finish("out.wav")
    assert stream.getvalue() == "out.wav: no audio\n"
