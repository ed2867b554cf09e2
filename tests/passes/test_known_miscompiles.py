"""What other optimizers are known to have got wrong, rebuilt from the descriptions: ours must not.

Every case goes through the default pipeline, also with those of the dialect and of the cpu target behind it, and through each
exact pass alone; outputs are held against onnxruntime with its optimizations off on the model as it was written, and the
interface against its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

import optc
from optc.compiler import ir, load, printer, registry, save, verify
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Array, Numerics, compare
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS
from optc.compiler.reference import Reference
from optc.compiler.target import Target

from .miscompiles import control, conversions, fusion, interface, norms, numbers, planted, views
from .miscompiles.case import Case

CASES = (
    *interface.CASES,
    *interface.TWICE,
    *fusion.CASES,
    *fusion.PADDED,
    *norms.CASES,
    *views.CASES,
    *conversions.CASES,
    *numbers.CASES,
    *control.CASES,
)
PIPELINES = [
    DEFAULT_PASSES,
    f"{DEFAULT_PASSES},{DIALECTS['onnxruntime']}",
    f"{DEFAULT_PASSES},{Target.parse('cpu').pipeline()}",
    *(n for n in sorted(registry.names("pass")) if Pipeline.parse(n).passes[0].numerics is not Numerics.LOSSY),
]


def faults(case: Case, pipelines: Iterable[Iterable[Pass]]) -> list[str]:
    """What is wrong after each pipeline, '' where nothing is. Types are inferred first, as in every pipeline."""
    source = case.proto()
    expected = _outputs(source, case)
    model = load.from_proto(case.proto(), case.name)
    signature = verify.signature(model)
    edit = Editor(model)
    for p in Pipeline.parse("infer-shapes"):
        p.run(edit)
    start, text, found = edit.mark(), printer.text(model), []
    known: dict[bytes, str] = {}  # many passes come to the same
    for passes in pipelines:
        for p in passes:
            edit.owner = p.name
            p.run(edit)
        problems = [str(problem) for problem in verify.verify(model, signature)] if edit.steps else [""]
        result = save.to_bytes(edit.model, expand=True) if not problems else b""
        if not problems and result not in known:
            known[result] = _differs(onnx.load_model_from_string(result), source, case, expected)
        found.append(problems[0] if problems else known[result])
        edit.rollback(start)
        edit.steps.clear()
    assert printer.text(model) == text, "it is not rolled back exactly"
    return found


def _differs(result: onnx.ModelProto, source: onnx.ModelProto, case: Case, expected: list[dict[str, Array]]) -> str:
    for old, new in zip(_interface(source), _interface(result), strict=True):
        if not _states(old, new):
            return f"'{old.name}' is {new}, expected {old}"
    try:
        worst = compare(expected, _outputs(result, case))
    except UserError as error:
        return str(error)
    return "" if worst.meets(Numerics.REASSOCIATED, case.tolerance) else str(worst)


def _outputs(proto: onnx.ModelProto, case: Case) -> list[dict[str, Array]]:
    if not case.evaluator:
        run = Reference(proto).run
        return [run(feeds) for feeds in case.samples()]
    evaluator, names = onnx.reference.ReferenceEvaluator(proto), [v.name for v in proto.graph.output]
    return [dict(zip(names, evaluator.run(None, dict(feeds)), strict=True)) for feeds in case.samples()]


def _interface(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*proto.graph.input, *proto.graph.output]


def _states(old: onnx.ValueInfoProto, new: onnx.ValueInfoProto) -> bool:
    """Whether a value still has its name, its element type and its sizes; what was not stated may be stated now."""
    a, b = old.type.tensor_type, new.type.tensor_type
    sizes = zip(a.shape.dim, b.shape.dim, strict=False)
    return (
        old.name == new.name
        and a.elem_type in (0, b.elem_type)
        and (not a.HasField("shape") or len(a.shape.dim) == len(b.shape.dim))
        and all(not d.HasField("dim_value") or d.dim_value == e.dim_value for d, e in sizes)
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the evaluator of float16 that overflows
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_known_miscompile_is_not_ours(case: Case) -> None:
    pipelines = {p: Pipeline.parse(p) for p in PIPELINES}
    if case.bitwise:
        pipelines = {text: p for text, p in pipelines.items() if all(one.numerics is Numerics.BITWISE for one in p)}
    found = faults(case, pipelines.values())
    wrong = {p: fault for p, fault in zip(pipelines, found, strict=True) if fault}
    assert {p: fault for p, fault in wrong.items() if p not in case.otherwise} == {}
    assert wrong.keys() == case.otherwise.keys()


@pytest.mark.parametrize(("wrong", "name"), planted.PLANTED, ids=lambda x: x if isinstance(x, str) else "")
def test_the_rule_of_others_is_caught(wrong: Pass, name: str) -> None:
    (case,) = (c for c in CASES if c.name == name)
    (fault,) = faults(case, [[wrong]])
    assert fault


RANDOM = {
    "normal": "a = RandomNormalLike (x) b = RandomNormalLike (x) y = Sub (a, b)",
    "uniform, of a constant shape": "a = RandomUniform <shape = [3, 4]> () b = RandomUniform <shape = [3, 4]> () y = Sub (a, b)",
    "bernoulli": "p = Sigmoid (x) a = Bernoulli (p) b = Bernoulli (p) y = Sub (a, b)",
    "dropout in training": "a = Dropout (x, half, yes) b = Dropout (x, half, yes) y = Sub (a, b)",
    "in a body and around it": "a = RandomNormalLike (x) b = If (yes) <then_branch = t () => (float[3,4] r) "
    "{ r = RandomNormalLike (x) }, else_branch = e () => (float[3,4] s) { s = Neg (x) }> y = Sub (a, b)",
}


@pytest.mark.parametrize("body", RANDOM.values(), ids=RANDOM)
def test_two_random_numbers_are_never_one(body: str) -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[3,4] x) => (float[3,4] y)'
    text = f"{head} <float half = {{0.5}}, bool yes = {{1}}> {{ {body} }}"
    for passes in PIPELINES:
        model = printer.parse(text)
        for p in Pipeline.parse(f"infer-shapes,{passes}"):
            p.run(Editor(model))
        assert randoms(model) == 2, f"after {passes}"


def randoms(model: ir.Model) -> int:
    kinds = ("RandomNormalLike", "RandomUniform", "Bernoulli", "Dropout")
    return sum(n.op_type in kinds for graph in ir.all_graphs(model.graph) for n in graph)


def test_the_sharing_of_random_numbers_is_caught() -> None:
    model = printer.parse(f'<ir_version: 8, opset_import: ["" : 17]> g (float[3,4] x) => (float[3,4] y) {{ {RANDOM["normal"]} }}')
    planted.ShareEverything().run(Editor(model))
    assert randoms(model) == 1


@pytest.mark.parametrize("target", ["onnxruntime", "cpu"])
def test_an_output_that_is_listed_twice_is_compiled(target: str, tmp_path: Path) -> None:
    (case,) = (c for c in interface.TWICE if c.name.endswith("with an Identity of it between"))
    onnx.save(case.proto(), str(tmp_path / "m.onnx"))
    optc.compile(tmp_path / "m.onnx", tmp_path / "m.optc", target=target, cache=False)
    x = np.array([[-1, 0, 2]], np.float32)
    given = optc.load(tmp_path / "m.optc").run({"x": x})
    assert list(given) == ["y", "z"] and all(np.array_equal(v, np.maximum(x, 0)) for v in given.values())
