"""What holds for every pass and every model: contracts, rollback, round trips, idempotence."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optc.compiler import ir, load, printer, registry, runner, save, verify
from optc.compiler.contents import dims
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Comparison, Numerics, compare
from optc.compiler.pipeline import LossyPass, Pass, Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, ONNXRUNTIME_PASSES
from optc.compiler.reference import Reference
from optc.compiler.symbolic import evaluate, names

from .strategies import feeds, models, protos

PASSES = sorted(registry.names("pass"))
EXACT = [name for name in PASSES if Pipeline.parse(name).passes[0].numerics is not Numerics.LOSSY]
LOSSY = {"quantize-weights": "", "prune-weights": " sparsity=0.2", "share-weights": " bits=6"}
CLEANUP = ("infer-shapes", "canonicalize", "fold-constants", "share-subexpressions", "eliminate-dead")
SAMPLES = [feeds(2, True), feeds(3, False, seed=1), feeds(0, True)]

examples = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many, few = settings(examples, max_examples=25), settings(examples, max_examples=12)


def apply(model: ir.Model, *passes: Pass, limit: int | None = None) -> Editor:
    edit = Editor(model, limit)
    for p in passes:
        edit.owner = p.name
        p.run(edit)
    return edit


def measure(before: ir.Model, after: ir.Model) -> Comparison:
    """On every sample that the first model takes (a Reshape to [0, -1] takes no empty batch)."""
    source, taken, expected = Reference(before), [], []
    for sample in SAMPLES:
        try:
            expected.append(source.run(sample))
            taken.append(sample)
        except UserError:
            assert sample["x"].size == 0
    return compare(expected, Reference(after).run_all(taken))


def assert_same(before: ir.Model, after: ir.Model, numerics: Numerics) -> None:
    worst = measure(before, after)
    assert worst.meets(numerics), str(worst)


@pytest.mark.parametrize("name", EXACT)
@many
@given(model=models())
def test_every_pass_keeps_its_contract_and_is_rolled_back_exactly(name: str, model: ir.Model) -> None:
    p = Pipeline.parse(name).passes[0]
    before, text, interface = model.clone(), printer.text(model), verify.signature(model)
    edit = apply(model, p)
    assert verify.verify(model, interface) == []
    assert_same(before, model, p.numerics)
    edit.rollback(0)
    assert printer.text(model) == text
    assert_same(before, model, Numerics.BITWISE)


@pytest.mark.parametrize("opset", [13, 17, 20])
@many
@given(data=st.data())
def test_the_default_pipeline_keeps_the_meaning(opset: int, data: st.DataObject) -> None:
    model = data.draw(models(opset))
    before, interface = model.clone(), verify.signature(model)
    apply(model, *Pipeline.parse(DEFAULT_PASSES))
    assert verify.verify(model, interface) == []
    assert_same(before, model, Numerics.REASSOCIATED)


@pytest.mark.parametrize("opset", [13, 20])
@few
@given(data=st.data())
def test_the_dialect_of_onnxruntime_keeps_the_meaning_and_is_rolled_back(opset: int, data: st.DataObject) -> None:
    model = data.draw(models(opset))
    before, interface, text = model.clone(), verify.signature(model), printer.text(model)
    edit = apply(model, *Pipeline.parse(f"{DEFAULT_PASSES},{ONNXRUNTIME_PASSES}"))
    assert verify.verify(model, interface) == []
    assert_same(before, model, Numerics.REASSOCIATED)
    edit.rollback(0)
    assert printer.text(model) == text


@few
@given(model=models(), data=st.data())
def test_every_prefix_of_its_rewrites_is_a_valid_model(model: ir.Model, data: st.DataObject) -> None:
    before, interface, passes = model.clone(), verify.signature(model), Pipeline.parse(DEFAULT_PASSES).passes
    total = len(apply(model.clone(), *passes).steps)
    limit = data.draw(st.integers(0, total))
    assert len(apply(model, *passes, limit=limit).steps) == limit
    assert verify.verify(model, interface) == []
    assert_same(before, model, Numerics.REASSOCIATED)


@pytest.mark.parametrize("name", CLEANUP)
@many
@given(model=models())
def test_cleanup_is_idempotent(name: str, model: ir.Model) -> None:
    p = Pipeline.parse(name).passes[0]
    apply(model, p)
    text = printer.text(model)
    edit = apply(model, p)
    assert edit.steps == []
    assert printer.text(model) == text


@pytest.mark.parametrize("name", sorted(LOSSY))
@few
@given(model=models())
def test_lossy_passes_stay_within_their_bound_or_change_nothing(name: str, model: ir.Model) -> None:
    p = Pipeline.parse(f"{name}{{min-elements=4 max-error=0.05{LOSSY[name]}}}").passes[0]
    assert isinstance(p, LossyPass)
    before, text = model.clone(), printer.text(model)
    outcome = runner.run(Pipeline((p,)), model, runner.Options(feeds=SAMPLES[:2])).outcomes[0]
    assert outcome.kept or printer.text(model) == text
    worst = measure(before, model)
    assert not worst.problem
    assert worst.l2 <= p.max_error


@pytest.mark.parametrize("text", ["infer-shapes", DEFAULT_PASSES])
@many
@given(model=models())
def test_recorded_types_are_those_at_run_time(text: str, model: ir.Model) -> None:
    apply(model, *Pipeline.parse(text))
    recorded = {v: dims(v) for n in model.graph for v in n.outputs if v.dtype is not None and not v.is_graph_output()}
    model.graph.outputs.extend(recorded)
    reference = Reference(model)
    for sample in SAMPLES[:2]:
        sizes, results = {"N": len(sample["x"])}, reference.run(sample)
        for value, known in recorded.items():
            found = results[value.name or ""]
            assert value.dtype is not None
            assert found.dtype == value.dtype.numpy()
            assert known is not None
            assert len(known) == found.ndim
            for dim, size in zip(known, found.shape, strict=True):
                assert not names(dim) <= {"N"} or evaluate(dim, sizes) == size, f"{value.name}: {dim}"


@few
@given(model=models())
def test_the_same_model_gives_the_same_result(model: ir.Model) -> None:
    twin, passes = model.clone(), Pipeline.parse(DEFAULT_PASSES).passes
    apply(model, *passes)
    apply(twin, *passes)
    assert save.to_bytes(model) == save.to_bytes(twin)


@few
@given(model=models())
def test_saving_and_loading_gives_the_same_model(model: ir.Model) -> None:
    apply(model, *Pipeline.parse(DEFAULT_PASSES))
    again = load.from_proto(onnx.load_model_from_string(save.to_bytes(model, expand=True)), "saved")
    text = printer.text(again)
    assert_same(model, again, Numerics.BITWISE)
    twice = load.from_proto(onnx.load_model_from_string(save.to_bytes(again)), "saved")
    assert printer.text(twice) == text


@few
@given(proto=protos())
def test_whole_texts_are_read_back(proto: onnx.ModelProto) -> None:
    model = load.from_proto(proto, "random")
    if any(True for node in model.graph for _ in ir.bodies(node)):
        return  # bodies are printed for people
    text = printer.text(model, whole=True)
    again = printer.parse(text)
    assert printer.text(again, whole=True) == text
    assert_same(model, again, Numerics.BITWISE)
