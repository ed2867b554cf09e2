"""Recurrent cells that exporters write out gate by gate become LSTM and GRU, with the outputs that they had."""

from __future__ import annotations

from collections import Counter

from benchmarks import zoo
from optc.compiler import inputs, ir, load
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES


def operators(model: ir.Model) -> Counter[str]:
    return Counter(n.op_type for graph in ir.all_graphs(model.graph) for n in graph)


def test_silero_as_dynamo_exports_it() -> None:
    """Both branches of an If hold an LSTMCell: two Gemm, Add, Split, and ten nodes more."""
    path = zoo.fetch("silero_vad_op18_ifless")
    before, edit = load.load(path), Editor(load.load(path))
    for p in Pipeline.parse(DEFAULT_PASSES):
        edit.owner = p.name
        p.run(edit)
    found = operators(edit.model)
    assert (found["LSTM"], found["Tanh"], found["Gemm"], found["Split"]) == (2, 0, 0, 0)
    assert ir.count_nodes(edit.model) <= 76
    checked = check(before, edit.model, Numerics.REASSOCIATED, inputs.generate(before))
    assert checked.holds, str(checked.worst)
