"""Cutting a graph down to what one tensor needs."""

from types import SimpleNamespace

from recipes.demo_model.kokoro import _keep_only


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
