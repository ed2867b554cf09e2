"""Parallel products on real models: how many fewer nodes there are, and that the outputs stay."""

from __future__ import annotations

import pytest

from benchmarks import zoo
from optc.compiler import inputs, ir, load
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES


@pytest.mark.parametrize(
    ("name", "merged", "fewer"),
    [
        ("minilm_l6", 6, 18),  # query, key and value of each layer: three MatMul and Add become MatMul, Add and Split
        ("light_inception_v1", 9, 23),  # three convolutions of one pixel with Relu on the same input in each block
    ],
)
def test_real_models(name: str, merged: int, fewer: int) -> None:
    text = DEFAULT_PASSES.replace("fold-constants", "fold-constants{max-growth=100000000}")
    path = zoo.fetch(name)
    before, edit = load.load(path), Editor(load.load(path))
    for p in Pipeline.parse(text):
        p.run(edit)
    steps, nodes = len(edit.steps), ir.count_nodes(edit.model)
    for p in Pipeline.parse("merge-parallel"):
        p.run(edit)
    assert len(edit.steps) - steps == merged
    assert nodes - ir.count_nodes(edit.model) == fewer
    found = check(before, edit.model, Numerics.REASSOCIATED, inputs.generate(before))
    assert found.holds, str(found.worst)
