from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import runtimes, stack
from benchmarks.report import table
from benchmarks.runtimes import Entry, Runtime, prepare, relative_error, row, take_turns
from benchmarks.stack import Call, Sizes, Stack

TINY = Sizes(layers=2, dim=64, qkv=128, hidden=128, vocab=64)
MAX_ERROR = {"float32": 1e-5, "bfloat16": 0.02, "int8": 0.06, "int4": 0.3}
FAST = ("torch float32", "ONNX Runtime float32")


@pytest.fixture(scope="module")
def tiny() -> Stack:
    torch.manual_seed(0)
    return Stack(TINY)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 1, TINY.dim)).astype(np.float32)


@pytest.fixture(scope="module")
def ready(tiny: Stack, x: np.ndarray) -> list[Entry]:
    entries, skipped = prepare(tiny, x, runtimes.runtimes())
    assert all("onnx" in reason for reason in skipped)
    return entries


@pytest.mark.slow
def test_all_run_the_same_stack(ready: list[Entry]) -> None:
    assert {entry.runtime.name.split()[0] for entry in ready} >= {"torch", "OpenVINO"}
    for entry in ready:
        precision = next(name for name in MAX_ERROR if name in entry.runtime.name)
        assert entry.error < MAX_ERROR[precision], entry.runtime.name


@pytest.mark.slow
def test_quantised_runtimes_really_quantise(ready: list[Entry]) -> None:
    for entry in ready:
        assert (entry.error > 1e-3) == ("float32" not in entry.runtime.name), entry.runtime.name


def test_other_weights_are_far_off(tiny: Stack, x: np.ndarray) -> None:
    torch.manual_seed(1)
    assert relative_error(stack.eager(Stack(TINY))(x), stack.eager(tiny)(x)) > 1


@pytest.mark.slow
def test_one_call_holds_all_steps(ready: list[Entry], tiny: Stack, x: np.ndarray) -> None:
    entry = next(e for e in ready if e.runtime.name == "OpenVINO float32" and e.steps > 1)
    logits, hidden = entry.call(x), torch.from_numpy(x)
    assert logits.shape == (1, entry.steps, TINY.vocab)
    with torch.inference_mode():
        for step in range(entry.steps):
            for layer in tiny.layers:
                hidden = layer(hidden)
            hidden = stack.norm(hidden)
            assert relative_error(logits[:, [step]], tiny.head(hidden).numpy()) < 1e-4


@pytest.mark.slow
def test_preparing_leaves_the_stack_as_it_was(ready: list[Entry], tiny: Stack) -> None:
    assert tiny.steps == 1
    assert {(type(p), p.weight.dtype) for p in [tiny.head, tiny.layers[0].qkv]} == {(torch.nn.Linear, torch.float32)}


def test_a_missing_library_is_a_reason_not_an_end(tiny: Stack, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(stack, "import_module", absent)
    entries, skipped = prepare(tiny, x, [r for r in runtimes.runtimes() if r.name in FAST])
    assert [e.runtime.name for e in entries] == ["torch float32"]
    assert skipped == ["ONNX Runtime float32, steps a call: 1: not measured: No module named 'onnxruntime'"]


def test_every_round_times_as_many_steps(x: np.ndarray) -> None:
    calls: list[str] = []

    def counted(name: str) -> Call:
        def call(given: Any) -> Any:
            calls.append(name)
            return given

        return call

    kinds = [(Runtime(name, 4, stack.eager), steps) for name, steps in (("one", 1), ("all", 31))]
    entries = [Entry(runtime, steps, counted(runtime.name), 0.0) for runtime, steps in kinds]
    take_turns(entries, x, rounds=2)
    assert calls == [*["one"] * 31, "all"] * 2
    assert [len(entry.seconds) for entry in entries] == [2, 2]


def test_a_row_compares_round_by_round() -> None:
    first = Entry(Runtime("first", 4, stack.eager), 1, lambda x: x, 0.0, [0.2, 0.6, 0.4])
    other = replace(first, runtime=Runtime("other", 1, stack.eager), seconds=[0.1, 0.1, 0.1])
    line = row(other, first, weights=10**9)
    assert (line["ms a step"], line["least"]) == pytest.approx((100, 100))
    assert (line["G weights/s"], line["GB/s"], line["times"]) == pytest.approx((10, 10, 4))
    assert row(first, first, weights=10**9)["GB/s"] == pytest.approx(10)
    assert "| other | 1 | 100 | 100 | 10 | 10 | 0 | 4 |" in table([line])
