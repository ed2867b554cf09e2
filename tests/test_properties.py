"""What holds for every pass on every model, by the kit for authors of passes: a few graphs here, thousands in `make fuzz`."""

from __future__ import annotations

import pytest

from optc.compiler import ir, load, printer, runner
from optc.compiler.numerics import Numerics, compare
from optc.compiler.pipeline import LossyPass, Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS
from optc.compiler.reference import Reference
from optc.compiler.testing import campaign, graphs
from optc.compiler.testing.campaign import Plan
from optc.compiler.testing.checks import CHECKS, Subject

EXACT = campaign.exact_passes()
LOSSY = {"quantize-weights": "", "prune-weights": " sparsity=0.2", "share-weights": " bits=6"}
SMALL = graphs.Options(most=8)


@pytest.mark.parametrize("name", EXACT)
def test_every_exact_pass_keeps_every_promise(name: str) -> None:
    first = 100 * EXACT.index(name)
    assert campaign.run(range(first, first + 8), Plan((name,))).failures == []


@pytest.mark.parametrize("opset", [13, 17, 20, 23])
def test_the_default_pipeline_keeps_every_promise(opset: int) -> None:
    checks = tuple(c for c in CHECKS if c != "idempotence")
    plan = Plan((DEFAULT_PASSES,), checks=checks, options=graphs.Options(opset=opset))
    assert campaign.run(range(opset * 50, opset * 50 + 10), plan).failures == []


@pytest.mark.parametrize("opset", [13, 20])
def test_the_dialect_of_onnxruntime_keeps_every_promise(opset: int) -> None:
    checks = tuple(c for c in CHECKS if c != "idempotence")
    plan = Plan((f"{DEFAULT_PASSES},{DIALECTS['onnxruntime']}",), checks=checks, options=graphs.Options(opset=opset))
    assert campaign.run(range(opset * 70, opset * 70 + 10), plan).failures == []


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_lossy_passes_stay_within_their_bound_or_change_nothing(name: str) -> None:
    p = Pipeline.parse(f"{name}{{min-elements=4 max-error=0.05{LOSSY[name]}}}").passes[0]
    assert isinstance(p, LossyPass)
    kept = 0
    for seed in range(12):
        proto = graphs.model(seed, SMALL)
        subject = Subject(proto, [graphs.feeds(proto, i) for i in range(2)])
        expected, model = subject.expected, subject.loaded.clone()
        text = printer.text(model)
        outcome = runner.run(Pipeline((p,)), model, runner.Options(feeds=subject.feeds)).outcomes[0]
        assert outcome.kept or printer.text(model) == text
        worst = compare(expected, Reference(model).run_all(subject.feeds))
        assert not worst.problem
        assert worst.l2 <= p.max_error
        kept += outcome.kept and printer.text(model) != text
    assert kept


def test_whole_texts_are_read_back() -> None:
    read = 0
    for seed in range(60):
        proto = graphs.model(seed, SMALL)
        feeds = [graphs.feeds(proto, i) for i in range(2)]
        expected = Reference(proto).run_all(feeds)
        model = load.from_proto(proto, "random")
        weights = {v.dtype for v in model.graph.initializers.values()}
        if ir.DataType.FLOAT16 in weights or any(True for node in model.graph for _ in ir.bodies(node)):
            continue  # bodies are printed for people, and onnx.parser reads no fractions of float16
        again = printer.parse(printer.text(model, whole=True))
        assert printer.text(again, whole=True, comments=False) == printer.text(model, whole=True, comments=False)
        assert compare(expected, Reference(again).run_all(feeds)).meets(Numerics.BITWISE)
        read += 1
    assert read > 20
