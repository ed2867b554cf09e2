"""Lineage: every node of a result comes from nodes of its source, and a source node is in the result or was removed by a pass."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import optc
from benchmarks import zoo
from optc.compiler import api, ir, lineage, load, printer, registry, runner, why
from optc.compiler.cli import main
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS
from optc.compiler.target import Target
from tests.passes.miscompiles import control
from tests.passes.miscompiles.case import Case

MODELS = ("fashion_cnn", "minilm_l6", "efflite0", "crepe_tiny", "g2p_decoder_step", "silero_vad")
LONG = {"quantize-weights": "{max-error=1}", "prune-weights": "{max-error=1}", "share-weights": "{max-error=1}"}
SINGLE = [name + LONG.get(name, "") for name in sorted(registry.names("pass"))]
WHOLE = [
    DEFAULT_PASSES,
    f"{DEFAULT_PASSES},{DIALECTS['onnxruntime']}",
    f"{DEFAULT_PASSES},{Target.parse('cpu').pipeline()}",
    f"{DEFAULT_PASSES},inline-functions",
]


def traced(source: ir.Model, *passes: Pass) -> tuple[ir.Model, lineage.Lineage]:
    model, before = source.clone(), lineage.Source.of(source)
    report = runner.run(Pipeline(tuple(Pipeline.parse("infer-shapes")) + passes), model, runner.Options(check="off"))
    return model, lineage.of(before, model, report.removals)


def holes(source: ir.Model, result: ir.Model, found: lineage.Lineage) -> list[str]:
    """What the lineage does not explain."""
    nodes = [n for graph in ir.all_graphs(result.graph) for n in graph]
    own = {n.name for graph in ir.all_graphs(source.graph) for n in graph}
    left = {name for made in found.nodes.values() for name in made.sources}
    return [
        *(f"{n.name} is missing" for n in nodes if n.name not in found.nodes),
        *(f"{name} comes from nowhere" for name, made in found.nodes.items() if not made.sources),
        *(
            f"{name} is made of {set(made.sources) - own}"
            for name, made in found.nodes.items()
            if not own.issuperset(made.sources)
        ),
        *(f"{n.name} has another name, and no passes" for n in nodes if not ir.origin(n).passes and n.name not in own),
        *(f"{name} is neither left nor removed" for name in own - left if name not in found.removed),
        *(f"nobody says who removed {name}" for name, gone in found.removed.items() if not gone.by or not gone.why),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_node_is_explained_through_every_pass(name: str) -> None:
    source = load.load(zoo.fetch(name))
    for text in (*SINGLE, *WHOLE):
        result, found = traced(source, *Pipeline.parse(text))
        assert holes(source, result, found) == [], text


@pytest.mark.parametrize("case", control.CASES, ids=lambda case: case.name)
def test_branches_and_loops_are_explained_too(case: Case) -> None:
    source = load.from_proto(case.proto(), case.name)
    for text in (*SINGLE, *WHOLE):
        result, found = traced(source, *Pipeline.parse(text))
        assert holes(source, result, found) == [], text


HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)'
BODIES = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x, bool c) => (float[N,2] y)
<bool yes = {1}, float two = {2}> {
    [dead] d = Exp (x)
    [first] a = If (yes) <then_branch = t () => (float[N,2] r) { [kept] r = Neg (x) },
        else_branch = e () => (float[N,2] s) { [never] s = Exp (x) }>
    [second] b = If (c) <then_branch = u () => (float[N,2] p) { [drop] q = Dropout (a) [relu] p = Relu (q) },
        else_branch = f () => (float[N,2] o) { [same] v = Mul (a, two) [id] o = Identity (v) }>
    [last] y = Identity (b)
}"""


def test_what_was_in_a_branch_and_what_never_ran() -> None:
    source = printer.parse(BODIES)
    result, found = traced(source, *Pipeline.parse(DEFAULT_PASSES))
    assert holes(source, result, found) == []
    assert found.nodes["kept"] == lineage.Made("Neg", ("kept",), ("inline-if",))
    gone = {name: (g.by, g.why.split(" at ")[0]) for name, g in found.removed.items()}
    known = "the branch that it takes is known, and stays"
    assert gone["first"] == gone["never"] == ("inline-if", known)
    assert gone["drop"] == ("canonicalize", "no-op-dropout")
    assert gone["dead"] == ("eliminate-dead", "nothing uses its results")


def test_a_removal_is_undone_with_its_edit_and_a_new_name_hides_no_source() -> None:
    model = printer.parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { [a] y = Neg (x) [b] z = Exp (x) }'
    )
    edit, source = Editor(model), lineage.Source.of(model)
    edit.owner = "planted"
    a, b = model.graph
    edit.remove(b, "planted")
    edit.rename(a, "c")
    found = lineage.of(source, model, edit.removals)
    assert found.nodes["c"].sources == ("a",) and found.removed == {"b": lineage.Gone("Exp", "planted", "planted")}
    edit.rollback(0)
    assert edit.removals == [] and ir.is_source(a) and a.name == "a"


def test_a_pass_that_hides_where_a_node_comes_from_is_seen() -> None:
    source = printer.parse(f"{HEAD} {{ [a] y = Neg (x) }}")
    result = source.clone()
    result.graph[0].name = "hidden"
    found = lineage.of(lineage.Source.of(source), result)
    assert holes(source, result, found) == [
        "hidden comes from nowhere",
        "hidden has another name, and no passes",
        "nobody says who removed a",
    ]


def test_the_file_is_read_back_and_the_same_every_time(tmp_path: Path) -> None:
    path = zoo.fetch("minilm_l6")
    for name in ("a", "b"):
        api.optimize(path, tmp_path / f"{name}.onnx", lineage_file=tmp_path / f"{name}.json", options=runner.Options(check="off"))
    held = (tmp_path / "a.json").read_bytes()
    assert held == (tmp_path / "b.json").read_bytes()
    found = lineage.read(tmp_path / "a.json")
    written = load.load(tmp_path / "a.onnx")
    assert set(found.nodes) == {n.name for n in written.graph}
    assert found.document() == json.loads(held) and found.document()["format"] == lineage.FORMAT
    source = load.load(path)
    assert holes(source, written, found) == []
    assert lineage.of(lineage.Source.of(source), written).nodes == found.nodes  # an optimized file carries its origins
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UserError, match="not a lineage file"):
        lineage.read(tmp_path / "a.json")


def test_a_model_that_was_optimized_before_is_a_source_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    api.optimize(zoo.fetch("minilm_l6"), first, passes="canonicalize", options=runner.Options(check="off"))
    api.optimize(first, second, passes="fuse-gelu", options=runner.Options(check="off"), lineage_file=tmp_path / "l.json")
    found, source = lineage.read(tmp_path / "l.json"), load.load(first)
    assert holes(source, load.load(second), found) == []
    assert {p for made in found.nodes.values() for p in made.passes} == {"fuse-gelu"}


def test_a_bundle_tells_its_lineage(tmp_path: Path) -> None:
    path = zoo.fetch("fashion_cnn")
    optc.compile(path, tmp_path / "b.optc", cache=False)
    found = why.lineage_between(tmp_path / "b.optc")
    assert found == why.lineage_between(path, tmp_path / "b.optc")
    source = load.load(path)
    assert set(found.source) == {n.name for n in source.graph}
    assert all(made.sources for made in found.nodes.values()) and all(g.by and g.why for g in found.removed.values())
    with pytest.raises(UserError, match="was not made of"):
        why.lineage_between(zoo.fetch("crepe_tiny"), tmp_path / "b.optc")


def test_the_difference_of_two_models_node_by_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, after = zoo.fetch("minilm_l6"), tmp_path / "after.onnx"
    api.optimize(path, after, passes="canonicalize,fuse-gelu", options=runner.Options(check="off"))
    capsys.readouterr()
    said = {how: told(capsys, "diff", str(path), *how.split()) for how in ("--passes canonicalize,fuse-gelu", f"{after}")}
    for text in said.values():
        assert "2 Mul + Add + Erf + Div" in text and "fuse-gelu" in text and "451 nodes became" in text
    assert "constant-to-initializer" in said["--passes canonicalize,fuse-gelu"]
    document = json.loads(told(capsys, "diff", str(path), "--passes", "canonicalize,fuse-gelu", "--json"))
    gelus = [c for c in document["changes"] if c["passes"] == ["fuse-gelu"]]
    assert len(gelus) == 6 and {s["operator"] for s in gelus[0]["sources"]} == {"Mul", "Add", "Erf", "Div"}
    assert document["nodes"]["before"] == 451 and len(document["removed"]) == 142
    each = told(capsys, "diff", str(path), "--passes", "canonicalize,fuse-gelu", "--all")
    assert each.count("(Erf)") == 6 and each.count("+ ") >= 6
    assert "no difference" in told(capsys, "diff", str(path), str(path), "--text")
    assert "451 are as they were, 0 left none" in told(capsys, "diff", str(path), str(path))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_five_thousand_nodes_are_compared_quickly() -> None:
    lines = " ".join(f"v{i + 1} = Relu (v{i}) w{i} = Identity (v{i})" for i in range(2500))
    source = printer.parse(f'<ir_version: 8, opset_import: ["" : 17]> g (float[2] v0) => (float[2] v2500) {{ {lines} }}')
    result, found = traced(source, *Pipeline.parse("eliminate-dead"))
    start = time.process_time()
    before = lineage.Source.of(source)
    assert len(lineage.changes(lineage.of(before, result))) == 0
    assert time.process_time() - start < 2
    assert len(found.removed) == 2500
