"""Every operator of ONNX's own test suite goes through the default pipeline: nothing crashes, nothing changes, all is undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.backend.test.case.node import collect_testcases

from optc.compiler import ir, load, printer, verify
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES
from optc.compiler.reference import Reference

TOLERANCE = {np.dtype(np.float16): 2e-3}
"""onnxruntime keeps intermediate results of float16 chains in float32 where it can see the chain; folded ones are rounded."""


def _loaded() -> list[tuple[Any, ir.Model]]:
    found = []
    for case in collect_testcases(None):  # type: ignore[arg-type]
        try:
            found.append((case, load.from_proto(case.model, case.name)))
        except UserError:  # experimental domains and types
            continue
    return found


def _fault(case: Any, model: ir.Model) -> str:
    """What is wrong after the default pipeline; empty where nothing is."""
    before, text, interface = model.clone(), printer.text(model), verify.signature(model)
    already = verify.verify(model)
    edit = Editor(model)
    for p in Pipeline.parse(DEFAULT_PASSES):
        edit.owner = p.name
        p.run(edit)
    problems = [p for p in verify.verify(model, interface) if str(p) not in map(str, already)]
    if problems:
        return str(problems[0])
    inputs = case.data_sets[0][0]
    if edit.steps and all(isinstance(value, np.ndarray) for value in inputs):
        feeds = dict(zip([v.name or "" for v in model.graph.inputs], inputs, strict=False))
        expected = {k: v for k, v in Reference(before).run(feeds).items() if isinstance(v, np.ndarray)}  # no sequences
        worst = compare([expected], [Reference(model).run(feeds)])
        loosest = max((TOLERANCE.get(v.dtype, 1e-4) for v in expected.values()), default=1e-4)
        if worst.problem or worst.error > loosest:
            return str(worst)
    edit.rollback(0)
    return "" if printer.text(model) == text else "the rollback is not exact"


@pytest.mark.slow
def test_every_operator_survives_the_default_pipeline() -> None:
    cases = _loaded()
    assert len(cases) > 1500
    faults = {case.name: fault for case, model in cases if (fault := _fault(case, model))}
    assert faults == {}
