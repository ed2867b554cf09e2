"""The generator of random graphs: every model is valid, runs, and is the same each time; together they have what is promised."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest

from optc.compiler.reference import Reference
from optc.compiler.testing import graphs
from optc.compiler.validate import all_nodes, bodies

MODELS = [graphs.model(seed) for seed in range(400)]


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_every_model_passes_the_full_check_and_runs_in_every_size(first: int) -> None:
    for proto in MODELS[first : first + 20]:
        onnx.checker.check_model(proto, full_check=True)
        reference = Reference(proto, threads=1)
        for sample in range(3):
            assert set(reference.run(graphs.feeds(proto, sample))) == {v.name for v in proto.graph.output}


def test_a_seed_gives_the_same_model_and_the_same_feeds() -> None:
    for seed in range(20):
        assert graphs.model(seed).SerializeToString(deterministic=True) == MODELS[seed].SerializeToString(deterministic=True)
        first, second = (graphs.feeds(MODELS[seed]) for _ in range(2))
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_an_opset_can_be_asked_for() -> None:
    for opset in (13, 18, 23):
        proto = graphs.model(3, graphs.Options(opset=opset))
        assert [entry.version for entry in proto.opset_import] == [opset]


def test_there_are_more_than_eighty_operators_and_everything_that_is_promised() -> None:
    operators = Counter(node.op_type for proto in MODELS for node in all_nodes(proto.graph))
    assert len(operators) > 100
    nodes = [node for proto in MODELS for node in all_nodes(proto.graph)]
    assert {o.version for proto in MODELS for o in proto.opset_import} == set(graphs.OPSETS)
    assert max(len(proto.graph.node) for proto in MODELS) > 150
    nested = [n for n in nodes for body in bodies(n) for n in body.node if any(True for _ in bodies(n))]
    assert nested and {n.op_type for n in nested} >= {"If", "Loop"}
    assert any("" in node.input[:-1] for node in nodes)  # an optional input left out in the middle
    dims = {d.dim_param for proto in MODELS for v in proto.graph.input for d in v.type.tensor_type.shape.dim}
    assert dims >= {"N", "S", "P", "H", "W"}
    listed = [{v.name for v in p.graph.input} & {t.name for t in p.graph.initializer} for p in MODELS]
    assert any(listed)  # weights as inputs
    inputs_as_outputs = [{v.name for v in p.graph.input} & {v.name for v in p.graph.output} for p in MODELS]
    assert any(inputs_as_outputs)
    assert any(len({v.name for v in p.graph.output}) < len(p.graph.output) for p in MODELS)  # an output listed twice
    elements = {v.type.tensor_type.elem_type for proto in MODELS for v in proto.graph.output}
    assert elements >= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.DOUBLE}


def test_bodies_use_values_of_the_graph_around_them() -> None:
    captured = 0
    for proto in MODELS:
        outer = {name for node in proto.graph.node for name in node.output}
        captured += any(name in outer for node in proto.graph.node for b in bodies(node) for n in b.node for name in n.input)
    assert captured > 40
