"""The table of graphs: what is counted, what is said of an engine that fails or is missing, and the line through times."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from benchmarks import graph, graph_engines, graph_scale, llm_graph
from benchmarks.graph_engines import Optimized
from optc.compiler.diagnostics import UserError


def _body(name: str, constant: bool) -> onnx.GraphProto:
    nodes = [helper.make_node("Relu", ["x"], [name])]
    if constant:
        nodes.append(helper.make_node("Constant", [], [f"{name}_c"], value=numpy_helper.from_array(np.ones(1, np.float32))))
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])])


def test_nodes_of_bodies_and_of_functions_are_counted_and_constants_are_not(tmp_path: Path) -> None:
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["c"],
        [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=_body("t", False), else_branch=_body("e", True)),
        helper.make_node("Twice", ["y"], ["z"], domain="local"),
    ]
    inputs = [
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
    ]
    made = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(made, functions=[function], opset_imports=imports, ir_version=8), path)
    assert graph_engines.count(path) == 1 + 2 + 2  # If, a Relu in each branch, the function's two


def test_optc_and_onnxruntime_each_in_a_process(fashion_cnn: Path) -> None:
    ours, theirs = (graph_engines.run(engine, fashion_cnn, timeout=120) for engine in ("optc", "onnxruntime"))
    for made in (ours, theirs):
        assert made.problem == "" and 0 < made.nodes <= graph_engines.count(fashion_cnn)
        assert 0 < made.seconds < made.process and made.peak > 1 << 20


def test_an_engine_that_takes_too_long_or_fails_is_said_to(fashion_cnn: Path, tmp_path: Path) -> None:
    assert graph_engines.run("optc", fashion_cnn, timeout=0.01).problem == "took more than 0 s"
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    assert "not an ONNX model" in graph_engines.run("optc", tmp_path / "bad.onnx", timeout=120).problem


def test_a_missing_peer_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"(?s)onnxslim, onnxsim, onnxscript.*pip install 'optc\[peers\]'"):
        graph_engines.check(graph_engines.ENGINES)
    graph_engines.check(["optc", "onnxruntime"])


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)no engine 'tensorrt'.*onnxslim"):
        graph_engines.check(["tensorrt"])


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"optc": 8, "onnxslim": 9, "onnxsim": 10}, "fewer"),
        ({"optc": 9, "onnxslim": 9}, "as many"),
        ({"optc": 12, "onnxslim": 9, "onnxsim": 10}, "3 more"),
    ],
)
def test_the_best_peer_is_what_counts(counts: dict[str, int], said: str) -> None:
    found = {name: Optimized(nodes) for name, nodes in counts.items()}
    assert graph.verdict(found, "optc", graph_engines.PEERS) == said


def test_a_peer_that_failed_does_not_count() -> None:
    found = {"optc": Optimized(9), "onnxslim": Optimized(problem="crashed"), "onnxsim": Optimized(10)}
    assert graph.verdict(found, "optc", graph_engines.PEERS) == "fewer"
    assert graph.verdict({"optc": Optimized(9)}, "optc", graph_engines.PEERS) == ""


def test_the_table_names_what_failed(fashion_cnn: Path) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    graph.table({"fashion": fashion_cnn}, ["optc", "onnxruntime"], 0.01, console)
    assert "optc on fashion: took more than 0 s" in console.export_text()


def test_points_on_a_line_have_no_rest() -> None:
    line = graph_scale.fit([1000, 2000, 5000], [0.3, 0.5, 1.1])
    assert line.start == pytest.approx(0.1) and line.slope == pytest.approx(2e-4) and line.r2 == pytest.approx(1)
    assert graph_scale.fit([1000, 2000, 5000, 10000], [1.0, 4.0, 25.0, 100.0]).r2 < 0.97  # a parabola


def test_the_plot_is_the_same_each_time(tmp_path: Path) -> None:
    line = graph_scale.Line(0.1, 2e-4, 1.0)
    for name in ("a.svg", "b.svg"):
        graph_scale.draw([1000, 2000], [0.3, 0.5], line, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "nodes of the source" in (tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("nodes", graph_scale.SIZES)
def test_the_sizes_are_met_within_a_layer(nodes: int) -> None:
    made = llm_graph.AROUND + llm_graph.PER_LAYER * graph_scale.layers_for(nodes)
    assert abs(made - nodes) <= llm_graph.PER_LAYER
