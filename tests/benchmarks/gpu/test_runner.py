"""Stages that fail, hang or die, and what is left of a run that they belong to."""

import json
import os
import sys

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import report, runner, stages
from benchmarks.gpu.notes import put
from benchmarks.gpu.runner import Report, Runner


def stage_of(script: str) -> list[str]:
    return [sys.executable, "-u", "-c", script]


@pytest.fixture
def told(tmp_path) -> Report:
    return Report(tmp_path / "gpu.json", {"device": "none"})


def saved(told: Report) -> dict:
    return json.loads(told.path.read_text())["stages"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", "done"),
        ("import os; os.abort()", "failed: the process ended with -6"),
        ("""print('["failure", "failed: no device"]'); raise SystemExit(1)""", "failed: no device"),
        ("""print('["b.failed", "a reason"]')""", "done, but failed in part: b"),
    ],
)
def test_whatever_ends_a_stage_is_told_and_what_it_had_told_is_kept(told, ending, status):
    assert Runner(told, 100, stage_of(f"print('[\"a.b\", 1]'); {ending}")).run("first", 50) == status
    assert saved(told)["first"]["results"]["a"] == {"b": 1}
    assert saved(told)["first"]["status"] == status


def test_a_stage_that_hangs_is_ended_and_the_next_one_runs(told, monkeypatch):
    monkeypatch.setattr(runner, "MIN_STAGE_SECONDS", 0.1)
    hangs = "import os, time; print(f'[\"pid\", {os.getpid()}]'); time.sleep(60)"
    assert Runner(told, 100, stage_of(hangs)).run("first", 2) == "stopped after 2 s"
    assert Runner(told, 100, stage_of("print('[\"a\", 2]')")).run("second", 50) == "done"
    with pytest.raises(ProcessLookupError):
        os.kill(saved(told)["first"]["results"]["pid"], 0)
    assert saved(told)["second"]["results"] == {"a": 2}


def test_each_result_is_in_the_file_before_the_next(told):
    script = f"""
import pathlib, time
print('["a", 1]')
end = time.monotonic() + 20
while '"a": 1' not in pathlib.Path({str(told.path)!r}).read_text():
    assert time.monotonic() < end
"""
    assert Runner(told, 100, stage_of(script)).run("first", 50) == "done"


def test_no_stage_begins_that_the_budget_has_no_time_for(told):
    assert Runner(told, 10, stage_of("raise SystemExit(9)")).run("first", 50) == "not run: 10 s were left"


def test_the_stages_are_those_that_have_limits():
    assert list(gpu.LIMITS) == list(stages.STAGES)


def test_a_run_without_results_still_has_a_table(told):
    Runner(told, 10, []).run("first", 50)
    assert "| first |  | not run: 10 s were left |" in report.tables(told.content)


def test_parts_that_failed_leave_the_rest_in_the_tables(told, tmp_path):
    results = told.stage("graphs")["results"]
    for name, value in [
        ("rows", 4),
        ("each", [{"graph": [1, 512, 64], "codes": 0.5, "first_codes": 1.0, "error": 0.01}]),
        ("each.failed", "RuntimeError: the device is gone"),
        ("graph.seconds", {"median": 0.004, "min": 0.003, "max": 0.005}),
        ("eager.failed", "RuntimeError: the device is gone"),
        ("padded.ordinary", {"codes": 1.0}),
        ("padded.failed", "RuntimeError: the device is gone"),
    ]:
        put(results, name, value)
    put(told.stage("speed")["results"], "frame.4.failed", "no")
    put(told.stage("speed")["results"], "streams.4", {"rtf": 0.5, "frames_per_second": 100.0})
    put(told.stage("exact")["results"], "demo.failed", "no")
    put(told.stage("load")["results"], "rates.failed", "no")
    text = report.tables(told.content)
    for expected in ("0 of 1 give the same codes, the worst 50%", "4 (3 to 5)", "| 4 | 0.5 |", "the device is gone"):
        assert expected in text
    report.plot(told.content, tmp_path / "gpu.png")
