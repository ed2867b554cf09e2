"""Sizes beyond which a model cannot run are found, the code relies on them, and what exceeds them is refused at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import optc
from optc.compiler import bounds
from optc.compiler.diagnostics import UserError
from optc.compiler.load import load
from optc.compiler.pipeline import Pipeline
from optc.compiler.runner import run

POSITIONS = """
<ir_version: 8, opset_import: ["": 17]>
graph (int64[N, S] ids, float[N, S, 4] x) => (float[N, S, 4] y)
<int64[1] zero = {0}, int64[1] one = {1}, float[1, 6, 4] table = {TABLE}>
{
    shape = Shape (ids)
    length = Slice (shape, one, two)
    rows = Slice (table, zero, length, one)
    y = BINARY (x, rows)
}
""".replace("one = {1}", "one = {1}, int64[1] two = {2}")


def _write(path: Path, binary: str = "Add") -> Path:
    table = ", ".join(str(float(i)) for i in range(24))
    onnx.save(onnx.parser.parse_model(POSITIONS.replace("TABLE", table).replace("BINARY", binary)), path)
    return path


def test_a_table_of_positions_bounds_the_length(tmp_path: Path) -> None:
    model = load(_write(tmp_path / "m.onnx"))
    run(Pipeline.parse("infer-shapes"), model)
    assert bounds.largest(model.graph) == {"S": 6}
    assert bounds.of_inputs(model.graph.inputs, {"S": 6}) == [("ids", 1, 6), ("x", 1, 6)]


def test_what_is_not_broadcast_bounds_nothing(tmp_path: Path) -> None:
    model = load(_write(tmp_path / "m.onnx", binary="Concat <axis = 1>"))
    run(Pipeline.parse("infer-shapes"), model)
    assert bounds.largest(model.graph) == {}


def test_every_length_up_to_the_bound_runs_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    source, rng = _write(tmp_path / "m.onnx"), np.random.default_rng(0)
    optc.compile(source, tmp_path / "m.optc", cache=False)
    program = optc.load(tmp_path / "m.optc")
    for length in (0, 1, 5, 6):
        feeds = {"ids": np.zeros((2, length), np.int64), "x": rng.standard_normal((2, length, 4)).astype(np.float32)}
        rows = np.arange(24, dtype=np.float32).reshape(1, 6, 4)[:, :length]
        np.testing.assert_array_equal(program.run(feeds)["y"], feeds["x"] + rows)
    long = {"ids": np.zeros((2, 7), np.int64), "x": np.zeros((2, 7, 4), np.float32)}
    with pytest.raises(UserError, match="dimension 1 of 'ids' is 7, and the model takes at most 6"):
        program.run(long)
