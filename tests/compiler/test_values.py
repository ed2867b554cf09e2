"""Value by value: a fault is found where it is, not where it is seen; what numbers should not hold is told at its first node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings

from optc.compiler import api, inputs, ir, load, printer, runner, values
from optc.compiler.cli import main
from optc.compiler.numerics import Numerics
from optc.compiler.pairs import computed, pairs
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.rewrite import Builder, PatternBuilder, RewritePass
from tests import strategies

from .planted import WrongAdd
from .test_runner import CHAIN, chain

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
TARGET_PASSES = "fold-constants,eliminate-dead,channels-last,eliminate-dead"


def after(model: ir.Model, *passes: Pass) -> ir.Model:
    """The model after passes, whatever they did to it."""
    copy = model.clone()
    runner.run(Pipeline(passes), copy, runner.Options(check="off"))
    return copy


def compared(source: str, result: str, x: Any = None, **options: Any) -> values.Report:
    before, changed = printer.parse(HEADER + source), printer.parse(HEADER + result)
    feeds = inputs.generate(before) if x is None else [{"x": np.asarray(x, np.float32)}]
    return values.compare_values(before, changed, feeds, **options)


@dataclass(frozen=True)
class LogOfNegative(RewritePass):
    """Relu(x) -> Log(x): NaN where x is negative."""

    name = "planted-log"
    numerics = Numerics.BITWISE

    def pattern(self, op: PatternBuilder, x: Any) -> Any:
        return op.Relu(x)

    def rewrite(self, op: Builder, x: ir.Value) -> Any:
        return op.Log(x)


# --- where they part ----------------------------------------------------------------------------------------------------


def test_a_wrong_rewrite_is_found_at_its_node_and_not_downstream() -> None:
    source = chain()
    found = values.compare_values(source, after(source, WrongAdd()), inputs.generate(source))
    assert [(r.node, r.parts, r.first) for r in found.rows] == [
        ("add1", False, False),
        ("mul1", False, False),
        ("add2", False, False),
        ("add3", True, True),
        ("mul2", True, False),
    ]
    assert found.first is not None and found.first.sources == ("add3",) and found.first.passes == ("planted-wrong-add",)
    assert found.unpaired == 0 and not found.holds


def test_right_rewrites_part_nowhere() -> None:
    source = chain()
    found = values.compare_values(source, after(source, WrongAdd(node="none")), inputs.generate(source))
    assert found.holds and len(found.rows) == found.values == 5


def test_chunks_and_samples_do_not_change_what_is_found() -> None:
    source = chain()
    wrong, feeds = after(source, WrongAdd()), inputs.generate(source, samples=3)
    whole = values.compare_values(source, wrong, feeds)
    assert values.compare_values(source, wrong, feeds, limit=1) == whole and whole.samples == 3


def test_two_faults_that_do_not_feed_each_other_both_come_first() -> None:
    text = "g (float[N,3] x) => (float[N,3] y) { [a] a = Relu(x) [b] b = Abs(x) [c] y = Add(a, b) }"
    found = compared(text, text.replace("Relu", "Sigmoid").replace("Abs", "Exp"))
    assert [r.node for r in found.rows if r.first] == ["a", "b"]


def test_values_of_another_layout_are_compared_in_it_and_a_fault_there_is_found() -> None:
    text = (
        "g (float[N,8,8,8] x) => (float[N,8,8,8] y) <float[8,8,1,1] w = {WEIGHTS}>"
        " { [conv] a = Conv(x, w) [relu] b = Relu(a) [twice] y = Mul(b, b) }"
    )
    weights = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    source = printer.parse(HEADER + text.replace("WEIGHTS", ", ".join(map(str, weights))))
    result = after(source, *Pipeline.parse(TARGET_PASSES))
    assert "ConvChannelsLast" in {n.op_type for n in result.graph}
    feeds = inputs.generate(source)
    assert values.compare_values(source, result, feeds).holds  # although 8×8×8 looks the same either way
    relu = next(n for n in result.graph if n.op_type == "Relu")
    relu.op_type = "Abs"
    first = values.compare_values(source, result, feeds).first
    assert first is not None and (first.node, first.sources) == (relu.name, ("relu",))


def test_models_without_lineage_are_compared_by_name() -> None:
    found = compared(
        "g (float[N,3] x) => (float[N,3] y) { [a] a = Relu(x) [b] b = Neg(a) [c] y = Abs(b) }",
        "g (float[N,3] x) => (float[N,3] y) { [p] a = Relu(x) [q] other = Neg(a) [r] y = Exp(other) }",
    )
    assert [(r.value, r.first) for r in found.rows] == [("a", False), ("y", True)]
    assert found.unpaired == 1


def test_a_name_that_was_used_again_is_not_taken_for_the_value_that_had_it() -> None:
    source = printer.parse(HEADER + "g (float[N,3] x) => (float[N,3] y) { [a] a = Relu(x) [b] y = Neg(a) }")
    result = printer.parse(HEADER + "g (float[N,3] x) => (float[N,3] y) { [t] a = Abs(x) [b] y = Neg(a) }")
    ir.set_origin(result.graph[0], ir.Origin(("b",), ("planted",)))
    assert [(p.before.name, p.after.name) for p in pairs(source, result)] == [("y", "y")]


def test_an_output_in_another_layout_is_a_fault_and_no_layout() -> None:
    source = printer.parse(
        HEADER
        + "g (float[N,4,4,4] x) => (float[N,4,4,4] y) { [a] a = Relu(x) [b] b = Neg(a) [c] y = Transpose<perm=[0,3,1,2]>(b) }"
    )
    result = source.clone()
    last = result.graph[2]
    last.attributes["perm"] = ir.convert_attribute("perm", [0, 1, 2, 3])
    ir.set_origin(last, ir.Origin(("c",), ("planted",)))
    first = values.compare_values(source, result, inputs.generate(source)).first
    assert first is not None and first.node == "c"


def test_outputs_that_nothing_is_compared_with_are_no_agreement() -> None:
    text = "g (float[N,3] x) => (float[N,3] y) { [a] y = Relu(x) }"
    found = compared(text, text.replace("y", "z"))
    assert not found.rows and found.missing == ("y",) and not found.holds
    integers = text.replace("float[N,3] y", "int64[N,3] y").replace("Relu(x)", "Cast<to=7>(x)")
    assert [(r.first, "int64" in r.problem) for r in compared(text, integers).rows] == [(True, True)]


def test_outputs_that_no_node_makes_of_the_inputs_are_compared_too() -> None:
    text = (
        "g (float[N,3] x) => (float[N,3] y, float[3] k, float[3] w, float[N,3] x) <float[3] w = {1, 2, 3}>"
        " { [a] y = Relu(x) [b] k = Neg(w) }"
    )
    assert compared(text, text).holds
    assert [r.node for r in compared(text, text.replace("Neg", "Exp")).rows if r.first] == ["b"]
    assert compared(text, text.replace("{1, 2, 3}", "{1, 2, 4}")).missing == ("w",)


def test_another_shape_under_the_same_name_is_a_problem() -> None:
    found = compared(
        "g (float[2,3] x) => (float[M,K] y) { [a] a = Relu(x) [b] y = Neg(a) }",
        "g (float[2,3] x) => (float[M,K] y) { [a] a = Transpose(x) [b] y = Neg(a) }",
    )
    assert [(r.value, r.problem, r.first) for r in found.rows] == [("y", "has another shape", True)]
    assert found.unpaired == 1  # `a` is another operator's: perhaps another value


def test_nodes_that_cannot_be_compared_are_named_beside_the_first_place(fashion_cnn: Path) -> None:
    found = api.compare_values(fashion_cnn, passes="quantize-weights{max-error=0.05}")
    first = found.graph.first
    assert first is not None and first.op_type == "Conv" and not first.passes
    assert [n.op_type for n in found.after.graph if n.name in first.between] == ["DequantizeLinear"]


def test_strings_are_compared() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (string[N] x) => (string[N] y) { [a] a = StringConcat(x, x) [b] y = StringConcat(a, WHAT) }"""
    before, wrong = (printer.parse(text.replace("WHAT", what)) for what in ("x", "a"))
    feeds = [{"x": np.array(["p", "q"], dtype=object)}]
    first = values.compare_values(before, wrong, feeds).first
    assert first is not None and (first.node, first.problem) == ("b", "has other strings")
    assert values.compare_values(before, before, feeds).holds


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(strategies.models())
def test_what_the_default_passes_make_parts_nowhere(model: ir.Model) -> None:
    result = after(model, *Pipeline.parse(f"{api.DEFAULT_PASSES},{TARGET_PASSES}"))
    feeds = [strategies.feeds(2, True), strategies.feeds(1, False)]
    assert values.compare_values(model, result, feeds).first is None


# --- the watch ----------------------------------------------------------------------------------------------------------


def test_nan_is_told_at_its_first_node() -> None:
    source = printer.parse(HEADER + "g (float[N,3] x) => (float[N,3] y) { [a] a = Neg(x) [b] b = Relu(a) [c] y = Exp(b) }")
    found = values.compare_values(source, after(source, LogOfNegative()), inputs.generate(source))
    assert [(f.kind, f.side, f.node, f.op_type) for f in found.findings] == [("nan", "result", "b", "Log")]
    assert found.first is not None and (found.first.node, found.first.problem) == ("b", "has NaN in other places")


def test_nan_and_infinities_of_the_source_are_told_as_its_own() -> None:
    text = "g (float[N,3] x) => (float[N,3] y) { [a] a = Log(x) [b] b = Sqrt(x) [c] y = Add(a, b) }"
    found = compared(text, text, x=[[-1, 0, 1]])
    told = [(f.kind, f.side, f.node) for f in found.findings]
    assert told == [("nan", "both", "a"), ("inf", "both", "a"), ("nan", "both", "b")] and found.holds


def test_a_scale_that_is_too_small_saturates_and_a_right_one_does_not() -> None:
    def quantized(scale: float) -> str:
        return (
            f"g (float[N,64] x) => (float[N,64] y) <float s = {{{scale}}}, int8 z = {{0}}>"
            " { [q] q = QuantizeLinear(x, s, z) [d] y = DequantizeLinear(q, s, z) }"
        )

    (told,) = compared(quantized(0.05), quantized(0.001), tolerance=1.0).findings
    assert (told.kind, told.side, told.node, told.value) == ("saturated", "result", "q", "q")
    assert told.share > 0.5 and told.source == 0.0 and "-128 and 127" in told.detail
    assert not compared(quantized(0.05), quantized(0.001), tolerance=1.0, saturation=0.99).findings


def test_a_rectifier_is_not_saturation() -> None:
    text = (
        "g (float[N,64] x) => (float[N,64] y) <float low = {0}, float high = {6}, float s = {0.1}, uint8 z = {0}>"
        " { [c] c = Clip(x, low, high) [q] q = QuantizeLinear(c, s, z) [d] y = DequantizeLinear(q, s, z) }"
    )
    assert not compared(text, text).findings
    (told,) = compared(text, text.replace("high = {6}", "high = {0.5}"), tolerance=9.0).findings
    assert (told.kind, told.node, told.side) == ("saturated", "c", "result")


@pytest.mark.parametrize(("value", "kinds"), [(1e3, []), (4e4, ["near overflow"]), (1e6, ["inf", "near overflow"])])
def test_half_precision_is_watched_for_overflow(value: float, kinds: list[str]) -> None:
    wide = "g (float[N,2] x) => (float[N,2] y) { [a] a = Abs(x) [c] y = Neg(a) }"
    half = "g (float[N,2] x) => (float[N,2] y) { [a] a = Abs(x) [h] h = Cast<to=10>(a) [n] n = Neg(h) [c] y = Cast<to=1>(n) }"
    found = compared(wide, half, x=[[1.0, value]])
    assert [f.kind for f in found.findings if f.node == "h"] == kinds
    assert found.holds == (value < 65504)


def test_half_precision_at_its_largest_number_is_saturated() -> None:
    wide = "g (float[N,2] x) => (float[N,2] y) { [a] a = Abs(x) [c] y = Neg(a) }"
    half = (
        "g (float[N,2] x) => (float[N,2] y) <float low = {-65504}, float high = {65504}>"
        " { [l] l = Clip(x, low, high) [h] h = Cast<to=10>(l) [a] a = Abs(h) [f] f = Cast<to=1>(a) [c] y = Neg(f) }"
    )
    told = compared(wide, half, x=[[1.0, 1e6]]).findings
    assert ("saturated", "h", 0.5) in [(f.kind, f.node, f.share) for f in told] and not any(f.kind == "inf" for f in told)


def test_bfloat16_inside_a_model_can_be_looked_at() -> None:
    wide = "g (float[N,3] x) => (float[N,3] y) { [a] a = Abs(x) [c] y = Neg(a) }"
    half = "g (float[N,3] x) => (float[N,3] y) { [h] h = Cast<to=16>(x) [f] f = Cast<to=1>(h) [a] a = Abs(f) [c] y = Neg(a) }"
    found = compared(wide, half, tolerance=1e-2)
    assert found.holds and [r.value for r in found.rows] == ["a", "y"] and found.values == 4


# --- a real model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target_passes", ["", TARGET_PASSES])
def test_lcnet_agrees_value_by_value(lcnet: Path, target_passes: str) -> None:
    source = load.load(lcnet)
    passes = ",".join(filter(None, [api.DEFAULT_PASSES, target_passes]))
    result, _ = api.optimized(lcnet, passes)
    found = values.compare_values(source, result, inputs.generate(source))
    assert found.holds and max(r.error for r in found.rows) <= 1e-4
    assert len(found.rows) >= 0.9 * found.values and found.values == len(computed(result)) > 60
    assert any(r.passes for r in found.rows)


# --- the command --------------------------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    out, err = capsys.readouterr()
    return int(code or 0), out, err


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """The chain, and a wrong copy that a pass made, with its lineage."""
    onnx.save(onnx.parser.parse_model(CHAIN), str(tmp_path / "a.onnx"))
    from optc.compiler import save

    save.save(after(chain(), WrongAdd()), tmp_path / "b.onnx")
    return [str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx")]


def test_the_command_names_the_first_place_and_shows_its_neighbourhood(
    models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(capsys, "check", *models, "--values", "--worst", "2")
    assert code == 3 and "first at value 'e' of node 'add3' (Add)" in err and "from source nodes add3 by planted-wrong-add" in err
    assert "-> [add3] e = Add" in err and "5 of 5 values compared" in out and "parts first" in out
    assert "mul1" not in out  # two rows only


def test_the_command_gives_all_as_json(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", *models, "--values", "--worst", "1", "--json")
    document = json.loads(out)
    assert code == 3 and not document["holds"] and document["first"]["node"] == "add3" and len(document["rows"]) == 5
    code, out, _ = told(capsys, "check", *models, "--values", "--tolerance", "10", "--json")
    assert code == 0 and json.loads(out)["holds"]


def test_the_command_takes_data_and_passes(models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((4, 3), np.float32))
    code, out, _ = told(capsys, "check", models[0], "--values", "--data", str(tmp_path / "x.npz"), "--batch", "1")
    assert code == 0 and "4 samples: they agree" in out
    code, out, _ = told(capsys, "check", models[0], models[0], "--values", "--passes", "fold-constants")
    assert code == 0 and "5 of 5 values compared" in out


def test_a_plain_check_that_fails_points_to_values(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, "check", *models)
    assert code == 3 and "--values" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--values", "--saturation", "much"], "no share"),
        (["--values", "--metric", "agreement"], "one at a time"),
        (["--passes", "fold-constants"], "goes with --values"),
        ([], "name two models"),
    ],
)
def test_wrong_options_are_exit_code_2(
    models: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, _, err = told(capsys, "check", models[0], *arguments)
    assert code == 2 and words in err
