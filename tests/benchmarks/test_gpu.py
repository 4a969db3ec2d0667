"""The GPU benchmark, on a CPU: what it reports of a runtime that is wrong, and of stages that fail, hang or die."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from importlib import metadata

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import benchmarks.gpu.__main__ as gpu
from benchmarks.full_size import random_checkpoint, random_model, tiny_config
from benchmarks.gpu import device, parity, report, runner, stages
from benchmarks.gpu.models import Models, padded_frame
from benchmarks.gpu.notes import Notes, put
from benchmarks.gpu.runner import Report, Runner
from csm.engine.devices import Placement
from csm.engine.runtimes.cuda import CudaRuntime, Graph, Key
from csm.errors import ModelUnavailable
from tests.running import ROOT

CPU = torch.device("cpu")
LENGTH = 512


def build(capture=padded_frame, precision="bfloat16") -> CudaRuntime:
    return CudaRuntime(random_checkpoint(tiny_config()), Placement(CPU, precision), 4, capture)


def spoil(runtime: CudaRuntime, key: Key) -> None:
    """Let one graph give other codes than the eager frame."""
    graph = runtime.graphs[key]

    def replay() -> None:
        graph.replay()
        graph.codes.add_(1)

    runtime.graphs[key] = Graph(replay, graph.codes)


def leaky(runtime: CudaRuntime) -> CudaRuntime:
    """Let the last row, used or not, reach into the first."""
    for key, graph in runtime.graphs.items():

        def replay(graph: Graph = graph) -> None:
            runtime.state.x[0] += runtime.state.x[3]
            graph.replay()

        runtime.graphs[key] = Graph(replay, graph.codes)
    return runtime


class WithoutRoom(Models):
    def runtime(self, checkpoint, precision, rows):
        if rows > 4:
            raise ModelUnavailable(f"no room for {rows} rows")
        return super().runtime(checkpoint, precision, rows)


def test_every_graph_is_compared_and_a_bad_one_is_named():
    runtime = build()
    spoil(runtime, (4, 2048, 64))
    compared = [*parity.graphs(runtime)]
    assert len(compared) == len(runtime.graphs) == 18
    assert [one["graph"] for one in compared if one["codes"] < 1] == [[4, 2048, 64]]
    assert all(one["error"] == 0 for one in compared)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_graphs_that_are_right_agree(precision):
    assert all(one["codes"] == 1 and one["error"] == 0 for one in parity.graphs(build(precision=precision)))


def test_what_is_left_in_a_row_that_nobody_uses_must_not_show():
    runtimes = build(precision="float32"), leaky(build(precision="float32"))
    right, wrong = (dict(parity.padded(runtime, LENGTH)) for runtime in runtimes)
    assert set(right) == set(wrong) == {"ordinary", "not_a_number", "stale_top_k"}
    assert right["not_a_number"]["neighbours_untouched"] and right["stale_top_k"]["neighbours_untouched"]
    assert right["ordinary"]["codes"] == 1
    assert not wrong["not_a_number"]["neighbours_untouched"]


def test_rows_are_put_back_to_where_they_were():
    runtime = build()
    bench = parity.Bench(runtime, LENGTH)
    frames = []
    for _ in range(2):
        bench.seat(4, 50)
        frames.append(bench.frame(bench.eager, 4, 50))
    (codes, written), (again, rewritten) = frames
    assert torch.equal(codes, again) and torch.equal(written, rewritten)
    assert len({tuple(row) for row in codes.tolist()}) == 4


def test_the_bytes_of_a_frame_are_those_of_csm_1b():
    config = tiny_config()
    model = random_model(config, torch.float32, CPU)
    runtime = build(precision="float32")
    layers, steps = model.backbone_model.layers, config.num_codebooks - 1
    weights = [*layers.parameters(), *steps * [*model.depth_decoder.model.layers.parameters()]]
    least = (
        sum(w.nbytes for w in weights) + model.lm_head.weight.nbytes + model.depth_decoder.codebooks_head.weight.nbytes
    )
    counted = device.frame_bytes(runtime, rows=2, length=10)
    # Norms, the projection and the padding of heads come on top.
    assert least < counted["weights"] < 1.2 * least
    assert counted["keys_and_values"] == 2 * 10 * (2 * 2 * 2 * 16 * 4)


def test_random_weights_are_the_same_each_time():
    config = tiny_config()
    first, second, other = (random_model(config, torch.bfloat16, CPU, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert {t.dtype for name, t in first.items() if name.startswith("codec") and t.is_floating_point()} == {
        torch.float32
    }


def run_stage(name: str, models: Models | None = None, streams: tuple[int, ...] = (1, 4)) -> dict:
    sink = io.StringIO()
    effort = stages.Effort(frames=8, streams=streams, rounds=1, began=time.time())
    stages.STAGES[name](models or Models(CPU, is_tiny=True), effort, Notes(sink, 60))
    results: dict = {}
    for line in sink.getvalue().splitlines():
        put(results, *json.loads(line))
    assert '.failed"' not in sink.getvalue()
    return results


def test_the_device_is_named_and_its_speed_measured():
    told = run_stage("device")
    assert told["hardware"]["cores"] and told["bandwidth"]["median"] > 1e8


def test_graphs_are_started_compared_timed_and_counted():
    told = run_stage("graphs")
    assert told["graphs"] == len(told["each"]) == 18
    # Without a graph to replay, there is one copy more.
    assert told["eager"]["launches"] + 1 == told["graph"]["launches"] > 100
    assert told["eager"]["seconds"]["median"] > 0


def test_speed_is_measured_in_turns_with_transformers():
    told = run_stage("speed")
    assert set(told["streams"]) == set(told["frame"]) == {"1", "4"}
    assert told["alternating"]["times"]["median"] > 0
    assert set(told["first_audio"]) == {"new", "cached"}


def test_where_memory_is_short_fewer_rows_are_tried():
    told = run_stage("speed", WithoutRoom(CPU, is_tiny=True), streams=(1, 4, 16))
    assert (told["rows"], set(told["out_of_memory"]), set(told["streams"])) == (4, {"16"}, {"1", "4"})


def test_greedy_codes_equal_those_of_transformers():
    told = run_stage("exact")
    assert told == {"demo": {"frames": 8, "equal": 8}, "random weights": {"frames": 8, "equal": 8}}


def test_arrivals_are_served():
    assert run_stage("load")["rates"]


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
    monkeypatch.setattr(runner, "LEAST_SECONDS", 0.1)
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
        ("graph.seconds", {"median": 0.004, "least": 0.003, "most": 0.005}),
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


@pytest.mark.slow
def test_dry_run(tmp_path):
    """The whole script, every stage in its own process."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    command += ["--frames", "12", "--streams", "1", "4", "--rounds", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert {stage["status"] for stage in content["stages"].values()} == {"done"}
    assert list(content["stages"]) == list(gpu.LIMITS)
    assert (tmp_path / "gpu.png").stat().st_size > 10_000
    for expected in (
        "18 of 18 give the same codes",
        "12 of 12 frames equal",
        "| 4 |",
        "requests/s",
        "first audio, cached",
    ):
        assert expected in ran.stdout


BESIDE_TORCH = {"transformers", "regex", "pydantic-settings", "pydantic", "pydantic-core", "python-dotenv"} | {
    "annotated-types",
    "typing-inspection",
}
"""What the docstring of `benchmarks.gpu.__main__` names, beyond what a machine with PyTorch and tokenizers has."""


def test_it_starts_where_nothing_is_installed_but_what_its_docstring_names():
    there = BESIDE_TORCH | closure({"torch", "numpy", "safetensors", "tokenizers"})
    owners = metadata.packages_distributions()
    absent = [module for module, names in owners.items() if not there & set(map(canonicalize_name, names))]
    assert {"flask", "imageio_ffmpeg", "matplotlib", "psutil", "torchaudio", "openvino"} <= set(absent)
    script = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); import benchmarks.gpu.stages, benchmarks.gpu.__main__"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
    assert all(name in str(gpu.__doc__) for name in BESIDE_TORCH)


def closure(names: set[str]) -> set[str]:
    """These distributions and all that they require, without extras."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):
                needed = [Requirement(line) for line in metadata.requires(name) or ()]
                names |= {r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    return found
