"""What is told of a runtime that is wrong, and what a frame reads."""

import pytest
import torch

from benchmarks.full_size import random_checkpoint, random_model, tiny_config
from benchmarks.gpu import device, parity
from benchmarks.gpu.models import padded_frame
from csm.engine.devices import Placement
from csm.engine.runtimes.cuda import CudaRuntime, Graph, Key

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
