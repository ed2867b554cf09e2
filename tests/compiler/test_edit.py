"""Edits: each can be undone; names stay unique; what is removed takes along what only it needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from optc.compiler import ir, printer
from optc.compiler.edit import Editor

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, bool c) => (float[2] y, float[2] w)
<float[2] a = {1, 2}, float[2] b = {3, 4}>
{
  [add] p = Add (x, a)
  [mul] q = Mul (p, b)
  [if] y = If (c) <
    then_branch = yes () => (float[2] t) { [inner] t = Add (q, a) },
    else_branch = no () => (float[2] e) { [other] e = Neg (x) }
  >
  [neg] w = Neg (q)
}"""


def model() -> ir.Model:
    return printer.parse(TEXT)


def node(m: ir.Model, name: str) -> ir.Node:
    return next(n for g in ir.all_graphs(m.graph) for n in g if n.name == name)


def value(m: ir.Model, name: str) -> ir.Value:
    found = {v.name: v for g in ir.all_graphs(m.graph) for n in g for v in n.outputs}
    return {**found, **m.graph.initializers}[name]


def _insert(e: Editor) -> None:
    made = e.node("Abs", [value(e.model, "p")], name="abs", sources=[node(e.model, "add")])
    e.insert_before(node(e.model, "mul"), [made])
    e.set_input(node(e.model, "mul"), 0, made.outputs[0])


def _replace_an_output(e: Editor) -> None:
    made = e.node("Neg", [value(e.model, "p")], name="new", sources=[node(e.model, "neg")])
    e.insert_before(node(e.model, "neg"), [made])
    e.replace(value(e.model, "w"), made.outputs[0])
    e.remove(node(e.model, "neg"))


def _remove_the_if(e: Editor) -> None:
    e.set_output(e.graph, 0, value(e.model, "p"))
    e.remove(node(e.model, "if"))


def _sweep(e: Editor) -> None:
    e.set_output(e.graph, 0, value(e.model, "p"))
    e.set_output(e.graph, 1, value(e.model, "p"))
    old = [node(e.model, name).outputs[0] for name in ("neg", "if")]
    e.sweep(old)


EDITS: dict[str, Callable[[Editor], object]] = {
    "insert": _insert,
    "append": lambda e: e.append(e.graph, [e.node("Abs", [value(e.model, "p")], name="abs", sources=[])]),
    "replace an output": _replace_an_output,
    "remove a node with bodies": _remove_the_if,
    "sweep": _sweep,
    "rename": lambda e: e.rename(value(e.model, "p"), "renamed"),
    "initializer": lambda e: e.set_input(node(e.model, "mul"), 1, e.initializer(np.ones(2, np.float32), "b")),
    "move an initializer": lambda e: e.move_initializer(value(e.model, "b"), next(ir.bodies(node(e.model, "if")))),
    "supply": lambda e: e.supply(value(e.model, "b"), e.node("Identity", [value(e.model, "a")], name="id", sources=[])),
    "set an attribute": lambda e: e.set_attribute(node(e.model, "neg"), "k", ir.convert_attribute("k", 1)),
    "set a type": lambda e: e.set_type(value(e.model, "p"), ir.DataType.DOUBLE, None),
    "set an origin": lambda e: e.set_origin(node(e.model, "neg"), ir.Origin(("elsewhere",), ("p",))),
    "import a domain": lambda e: e.import_domain("optc"),
    "new version of a domain": lambda e: e.import_domain("", 18),
    "sort": lambda e: e.sort(e.graph),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_can_be_undone(name: str) -> None:
    m = model()
    before, nodes = printer.text(m), list(m.graph)
    edit = Editor(m)
    EDITS[name](edit)
    if name != "sort":
        assert printer.text(m) != before
    edit.rollback(0)
    assert printer.text(m) == before
    assert list(m.graph) == nodes  # the same objects
    assert {u.node.name for u in value(m, "q").uses()} == {"inner", "neg"}
    assert {u.node.name for u in value(m, "a").uses()} == {"add", "inner"}


def test_rollback_to_a_mark_keeps_what_was_before() -> None:
    m = model()
    edit = Editor(m)
    edit.rename(value(m, "p"), "kept")
    mark, text = edit.mark(), printer.text(m)
    for name in ("insert", "sweep"):
        if name == "insert":
            edit.initializer(np.zeros(1), "z")
    edit.rollback(mark)
    assert printer.text(m) == text


def test_fresh_names_are_new_and_come_back_after_a_rollback() -> None:
    edit = Editor(model())
    assert [edit.fresh("add"), edit.fresh("add"), edit.fresh("new"), edit.fresh("t")] == ["add_1", "add_2", "new", "t_1"]
    edit.rollback(0)
    assert edit.fresh("add") == "add_1"


def test_a_replacement_takes_over_the_name_of_an_output() -> None:
    m = model()
    _replace_an_output(Editor(m))
    assert [v.name for v in m.graph.outputs] == ["y", "w"]
    assert m.graph.outputs[1].producer() is node(m, "new")


def test_a_removed_node_lets_go_of_what_its_bodies_captured() -> None:
    m = model()
    _remove_the_if(Editor(m))
    assert {u.node.name for u in value(m, "q").uses()} == {"neg"}


def test_a_sweep_stops_at_what_is_used() -> None:
    m = model()
    _sweep(Editor(m))
    assert [n.name for n in m.graph] == ["add"]
    assert list(m.graph.initializers) == ["a"]


def test_a_new_node_says_where_it_comes_from() -> None:
    edit = Editor(model())
    edit.owner = "some-pass"
    made = edit.node("Abs", [], name="abs", sources=[node(edit.model, "add"), node(edit.model, "mul")])
    assert ir.origin(made) == ir.Origin(("add", "mul"), ("some-pass",))


def test_steps_are_counted_and_limited() -> None:
    edit = Editor(model(), limit=1)
    assert edit.step(node(edit.model, "add"))
    assert not edit.step(node(edit.model, "mul"))
    assert [s.node for s in edit.steps] == ["add"]
