"""Cutting a graph down to what one tensor needs."""

from types import SimpleNamespace

import numpy as np
import pytest

from recipes.demo_model.kokoro import _keep_only, _whole


def _named(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name)


def test_only_what_the_wanted_tensor_needs_is_kept() -> None:
    nodes = [
        SimpleNamespace(input=["tokens", "table"], output=["hidden"]),
        SimpleNamespace(input=["hidden", "speed"], output=["durations"]),
        SimpleNamespace(input=["durations", "filters"], output=["audio"]),
    ]
    weights = [_named("table"), _named("filters")]
    graph = SimpleNamespace(node=list(nodes), initializer=weights, output=[_named("audio"), _named("durations")])
    _keep_only(graph, "durations")
    assert graph.node == nodes[:2]
    assert [one.name for one in graph.initializer] == ["table"]
    assert [one.name for one in graph.output] == ["durations"]


@pytest.mark.parametrize(("given", "expected"), [([9, 3, 4, 1], [7, 3, 4, 3]), ([1, 3, 4, 1], [0, 3, 4, 2])])
def test_phonemes_begin_earlier_than_the_model_says(given: list[int], expected: list[int]) -> None:
    assert _whole(np.array(given, np.float32)) == expected
