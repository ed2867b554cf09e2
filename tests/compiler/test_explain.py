"""`optc explain`: how far a rule got at a node, and what stood in its way; what every pass did, on one screen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from benchmarks import zoo
from optc.compiler import explain, ir, nearmiss, printer, runner, why
from optc.compiler.cli import main
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import trace
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass
from optc.passes import PASSES

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x, float[N,4] z) => (float[N,4] y)'
CONSTANTS = "<float root = {1.4142135}, float one = {1}, float half = {0.5}, float three = {3}, float[4] w = {1,2,3,4}>"


def attention(op: PatternBuilder, q: Any, k: Any, v: Any, scale: Const) -> Any:
    scores = op.MatMul(q, op.Transpose(k, perm=[0, 2, 1]))
    return op.MatMul(op.Softmax(op.any_of(op.Div(scores, scale), op.Mul(scores, scale)), axis=-1), v)


@dataclass(frozen=True)
class Attention(RewritePass):
    """One rule of five operators, whose rewrite refuses."""

    name = "planted-attention"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, q: Any, k: Any, v: Any, scale: Const) -> Any:
        return attention(op, q, k, v, scale)

    def rewrite(self, op: Builder, q: ir.Value) -> Any:
        return Refuse("Attention is in opset 23, the model has 17: put convert-opset before")


LAYER = (
    "t{i} = Transpose <perm = [0,2,1]> (k) s{i} = MatMul (x{i}, t{i}) d{i} = {scale} p{i} = Softmax <axis = {axis}> (d{i}) "
    "x{j} = MatMul (p{i}, v) "
)


def layers(count: int, scale: str = "Div (s{i}, c)", axis: int = -1) -> ir.Model:
    body = "".join(LAYER.replace("{scale}", scale).format(i=i, j=i + 1, axis=axis) for i in range(count))
    head = f"(float[N,3,3] x0, float[N,3,3] k, float[N,3,3] v, float f) => (float[N,3,3] x{count})"
    return printer.parse(f'<ir_version: 8, opset_import: ["" : 17]> g {head} <float c = {{2}}> {{ {body} }}')


def asked(model: ir.Model, *passes: Pass, every: bool = False) -> list[explain.Group]:
    pipeline = Pipeline(passes)
    asking = explain.Asking(explain.Question(pipeline, every=every))
    before = printer.text(model)
    report = runner.run(pipeline, model, runner.Options(check="off", instruments=(asking,)))
    if not report.steps:
        assert printer.text(model) == before  # who only asks changes nothing
    return explain.groups(asking.misses)


def test_zero_attention_fused_says_which_operand_is_another_one_in_every_layer() -> None:
    (first, *_) = asked(layers(3, "Add (s{i}, c)"), Attention())
    assert len(first.nodes) == 3 and (first.first.matched, first.first.operators) == (2, 5)
    assert "expected Div or Mul, found 'd0' of 'Add_2' (Add)" in first.first.reason
    assert any(line.startswith("-> [Add_2]") for line in first.first.lines)
    assert any("MatMul_1" in line for line in first.first.lines)  # where its operand comes from


def test_what_does_not_fit_hides_nothing_behind_it() -> None:
    (group, *_) = asked(layers(2, axis=1), Attention())
    assert (group.first.matched, group.first.operators) == (5, 5) and len(group.nodes) == 2
    assert "'Softmax_3' (Softmax): expected axis = -1, found 1" in group.first.reason
    (group, *_) = asked(layers(2, "Div (s{i}, f)"), Attention())
    assert "expected a constant (scale), found the input 'f' float" in group.first.reason


def test_a_refusal_comes_first_and_tells_to_raise_the_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = asked(layers(4), Attention())
    assert (len(groups[0].nodes), groups[0].first.share) == (4, 1.0)
    assert "opset 23" in groups[0].first.reason
    monkeypatch.setattr("optc.compiler.registry.names", lambda kind: {"convert-opset": ""})
    assert groups[0].hint == "raise the opset first: --passes 'convert-opset{to=23},...'"
    monkeypatch.setattr("optc.compiler.registry.names", lambda kind: {})
    assert "it needs a model of opset 23" in groups[0].hint


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "d = Div (x, root) e = Erf (d) s = Add (e, one) p = Mul (z, s) y = Mul (p, half)",
            "expected 'z', as x is elsewhere, found the input 'x'",
        ),
        (
            "d = Div (x, three) e = Erf (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, half)",
            "expected the constant 1.414214, found",
        ),
        ("d = Div (x, root) e = Tanh (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, half)", "expected Erf, found 'e' of"),
        ("d = Div (x, root) e = Erf (d) s = Add (e, one) p = Mul (s, x) u = Mul (half, p) y = Mul (u, e)", "also used by"),
    ],
)
def test_reasons_name_what_is_there(body: str, reason: str) -> None:
    text = ",".join(
        g.first.reason for g in asked(printer.parse(f"{HEAD} {CONSTANTS} {{ {body} }}"), *Pipeline.parse("fuse-gelu"))
    )
    assert reason in text


def test_operands_may_stand_in_any_order() -> None:
    model = printer.parse(f"{HEAD} {CONSTANTS} {{ a = Tanh (x) m = Mul (w, a) y = Add (m, z) }}")

    def pattern(op: PatternBuilder, x: Any, w: Const, b: Const) -> Any:
        return op.Add(b, op.Mul(op.Tanh(x), w))

    fit = nearmiss.fit(trace(pattern), model.graph[-1], 17)
    assert (fit.matched, fit.operators) == (3, 3)
    assert [str(m) for m in fit.deepest] == ["'Add_2' (Add): expected a constant (b), found the input 'z' float[N,4]"]


def test_a_pass_that_looks_for_itself_says_why_not() -> None:
    model = printer.parse(f"{HEAD} {{ y = Add (x, z) r = RandomNormal <shape = [2]> () }}")
    (group,) = asked(model, *Pipeline.parse("fold-constants"))
    assert (group.first.operators, group.first.reason) == (0, "RandomNormal is not folded")


def test_a_model_is_explained_on_one_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PASSES, "planted-attention", f"{__name__}:Attention")
    passes = "infer-shapes,canonicalize,fuse-gelu,planted-attention"
    text = told(capsys, "explain", str(zoo.fetch("minilm_l6")), "--passes", passes)
    assert "gelu-erf-half-last ×6" in text and "constant-to-initializer ×142" in text
    assert "planted-attention: 2 of 5 operators matched, 6 times, first at" in text
    assert "expected Div or Mul, found" in text and text.count("\n") < 100


def test_one_pass_or_one_rule_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    body = "d = Div (x, root) e = Erf (d) s = Add (e, one) p = Mul (z, s) y = Mul (p, half)"
    onnx.save(onnx.parser.parse_model(f"{HEAD} {CONSTANTS} {{ {body} }}"), str(path))
    for name in ("fuse-gelu", "gelu-erf-half-last"):
        document = json.loads(told(capsys, "explain", str(path), "--pattern", name, "--json"))
        assert {m["pass"] for m in document["misses"]} == {"fuse-gelu"}
        (first, *_) = document["misses"]
        assert (first["matched"], first["operators"], first["count"], first["operator"]) == (5, 5, 1, "Mul")
        assert set(first) == {
            "pass", "rule", "operator", "matched", "operators", "count", "nodes", "reason", "hint", "lines",
        }  # fmt: skip
    there = told(capsys, "explain", str(path), "--pass", "fuse-gelu", "--passes", "canonicalize")  # it is put behind
    assert "fuse-gelu, rule gelu-erf-half-last: 5 of 5 operators matched, at" in there
    done = told(capsys, "explain", str(zoo.fetch("efflite0")), "--pass", "canonicalize", "--node", "nothing has this name")
    assert "it did all there was to do" in done
    assert "the model has no Mul, no Div" in told(
        capsys, "explain", str(zoo.fetch("fashion_cnn")), "--pass", "fuse-gelu", "--passes", ""
    )
    with pytest.raises(UserError, match="is named 'fuse-gleu'") as error:
        why.explain(path, pattern="fuse-gleu")
    assert "did you mean 'fuse-gelu'?" in error.value.hint


def test_each_pass_is_counted_by_its_rules() -> None:
    found = why.explain(zoo.fetch("fashion_cnn"))
    for f in found.fired:
        assert not f.rules or sum(f.rules.values()) == f.outcome.rewrites


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 0
    return capsys.readouterr().out
