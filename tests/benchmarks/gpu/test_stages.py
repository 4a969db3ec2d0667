"""Every stage on a CPU, with a tiny model and nothing but the capture of graphs replaced."""

import io
import json
import time

import pytest
import torch

from benchmarks.gpu import stages
from benchmarks.gpu.models import Models
from benchmarks.gpu.notes import Notes, put
from csm.errors import ModelUnavailable

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class WithoutRoom(Models):
    def runtime(self, checkpoint, precision, rows):
        if rows > 4:
            raise ModelUnavailable(f"no room for {rows} rows")
        return super().runtime(checkpoint, precision, rows)


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
