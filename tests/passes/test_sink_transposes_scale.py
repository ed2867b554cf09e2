"""Sinking transposes through one large region takes time linear in its nodes."""

from __future__ import annotations

import pytest

from optc.compiler import ir, printer, runner
from optc.compiler.pipeline import Pipeline
from optc.passes.cleanup import carried


def branches(count: int) -> ir.Model:
    """`count` transposes, each added to one value that all share: one region."""
    nodes = "\n".join(
        f"t{i} = Transpose <perm = [1, 0]> (x{i}) s{i} = Add (t{i}, shared) u{i} = Relu (s{i}) y{i} = Neg (u{i})"
        for i in range(count)
    )
    inputs = ", ".join(["float[3,3] c", *(f"float[3,3] x{i}" for i in range(count))])
    outputs = ", ".join(f"float[3,3] y{i}" for i in range(count))
    return printer.parse(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ shared = Sqrt (c)\n{nodes} }}')


@pytest.mark.parametrize("limit", [20, 2000])
def test_the_work_is_linear_in_the_nodes(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    carries = carried.carries
    monkeypatch.setattr(carried, "carries", lambda *given: asked.append(1) or carries(*given))
    counts = []
    for size in (20, 40, 80):
        asked.clear()
        text = f"infer-shapes,sink-transposes{{max-region={limit}}}"
        report = runner.run(Pipeline.parse(text), branches(size), runner.Options(check="off"))
        told = [r for r in report.refusals if "operators are between it" in r.reason]
        assert len(told) == (size if limit == 20 else 0)
        counts.append(len(asked))
    assert counts[2] <= 2.2 * counts[1] <= 2.2 * 2.2 * counts[0]
