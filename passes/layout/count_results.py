"""Results whose extent depends on data: the extent is computed first, and is then an input of what fills them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import Contents
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import ir_attr
from optc.compiler.shapes import infer_node

_LEAST_OPSET = 11  # of Pad with an input, Range and Unique, in which the operators of ours are defined
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_INT64, _BOOL, _DOUBLE = int(ir.DataType.INT64), int(ir.DataType.BOOL), int(ir.DataType.DOUBLE)

Results = list["ir.Value | None"] | str  # one for each output, or why there are none


@dataclass(frozen=True)
class CountResults(Pass):
    """NonZero, Compress, Unique, NonMaxSuppression, and Range with limits known only at run time, in two parts.

    The first gives the extent of the result, an int64 tensor of one element; the second takes it as an input, and has only
    results whose shapes follow from its inputs.
    """

    name = "count-results"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            for node in list(graph):
                rule = _RULES.get(node.op_type)
                if rule is not None and ir.standard(node, node.op_type):
                    _rewrite(edit, node, rule)


class _Nodes:
    """Makes nodes in place of one: `make.Cast(x, to=7)`; arrays become initializers."""

    def __init__(self, edit: Editor, node: ir.Node) -> None:
        self.edit, self.node = edit, node
        self.made: list[ir.Node] = []

    def own(self, op_type: str, *inputs: Any, outputs: int = 1, domain: str = ir.DOMAIN, **attributes: Any) -> Any:
        values = [self.edit.initializer(x, f"{self.node.name}_{op_type}") if isinstance(x, np.ndarray) else x for x in inputs]
        attrs = [ir_attr(k, v) for k, v in attributes.items() if v is not None]
        name = self.node.name or self.node.op_type
        made = self.edit.node(op_type, values, attrs, outputs=outputs, domain=domain, name=name, sources=[self.node])
        self.made.append(made)
        return made.outputs[0] if outputs == 1 else list(made.outputs)

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        return lambda *inputs, **options: self.own(op_type, *inputs, domain="", **options)

    def total(self, condition: ir.Value) -> ir.Value:
        """How many elements of a tensor are not 0: int64 [1]."""
        flags = condition if condition.dtype == ir.DataType.BOOL else self.Cast(condition, to=_BOOL)
        return self.Reshape(self.ReduceSum(self.Cast(flags, to=_INT64), keepdims=0), _one(1))  # type: ignore[no-any-return]

    def first(self, x: ir.Value, count: ir.Value) -> ir.Value:
        """The first `count` along the first axis."""
        return self.Slice(x, _one(0), count, _one(0))  # type: ignore[no-any-return]


def _one(value: int) -> ir.Array:
    return np.array([value], np.int64)


def _rewrite(edit: Editor, node: ir.Node, rule: Callable[[_Nodes, ir.Node], Results]) -> None:
    if edit.opset() < _LEAST_OPSET:
        edit.refuse(node, edit.owner, f"opset {edit.opset()} is older than {_LEAST_OPSET}")
        return
    if any(v is not None and v.dtype == ir.DataType.STRING for v in node.inputs):
        edit.refuse(node, edit.owner, "its elements are strings")
        return
    mark, make = edit.mark(), _Nodes(edit, node)
    edit.at = node
    results = rule(make, node)
    if isinstance(results, str) or not edit.step(node):
        for made in make.made:
            for i in range(len(made.inputs)):
                made.replace_input_with(i, None)
        edit.rollback(mark)
        if isinstance(results, str) and results:
            edit.refuse(node, edit.owner, results)
        return
    edit.insert_before(node, make.made)
    for made in make.made:
        infer_node(edit, made)
    inputs, name = list(node.inputs), node.name or ""
    for old, new in zip(node.outputs, results, strict=False):
        if new is None:
            continue
        kept = old.name or ""
        edit.set_type(new, old.dtype or new.dtype, old.shape or new.shape)
        edit.replace(old, new)
        if new.name != kept:
            edit.rename(old, edit.fresh(f"{kept}_replaced"))
            edit.rename(new, kept)
    edit.remove(node)
    edit.sweep([*inputs, *(v for made in make.made for v in made.outputs)])
    heir = next(new.producer() for new in results if new is not None)
    if heir is not None:
        edit.rename(heir, name)


def _non_zero(make: _Nodes, node: ir.Node) -> Results:
    x = node.inputs[0]
    if x is None or (x.shape is not None and len(x.shape) == 0):
        return "its input has no axis"
    return [make.own("NonZero", x, make.total(x))]


def _compress(make: _Nodes, node: ir.Node) -> Results:
    """The positions of what is true, and a Gather."""
    x, condition = node.inputs
    if condition is None:
        return "it has no condition"
    axis = ir.attribute(node, "axis")
    data = make.Reshape(x, _one(-1)) if axis is None else x
    where = make.Reshape(make.own("NonZero", condition, make.total(condition)), _one(-1))
    return [make.Gather(data, where, axis=axis or 0)]


def _unique(make: _Nodes, node: ir.Node) -> Results:
    """Indices into the input, and a Gather."""
    axis = ir.attribute(node, "axis")
    data = make.Reshape(node.inputs[0], _one(-1)) if axis is None else node.inputs[0]
    names = {"axis": axis or 0, "sorted": ir.attribute(node, "sorted", 1)}
    indices, inverse, counts, count = make.own("UniqueIndices", data, outputs=4, **names)
    first = make.first(indices, count)
    values = make.Gather(data, first, axis=axis or 0)
    used = [bool(v.uses()) or v.is_graph_output() for v in node.outputs] + [False] * (4 - len(node.outputs))
    return [values, first if used[1] else None, inverse if used[2] else None, make.first(counts, count) if used[3] else None]


def _boxes(make: _Nodes, node: ir.Node) -> Results:
    rows, count = make.own("SelectBoxes", *node.inputs, outputs=2, center_point_box=ir.attribute(node, "center_point_box", 0))
    return [make.first(rows, count)]


def _range(make: _Nodes, node: ir.Node) -> Results:
    """ceil((limit - start) / delta), at least 0; the difference in the type of the limits, the quotient in float64."""
    contents = Contents()
    if all(ir.const_tensor(v) is not None or contents.of(v) is not None for v in node.inputs if v is not None):
        return ""  # its extent is known, or follows from dimensions
    start, limit, delta = node.inputs
    if start is None or start.dtype is None:
        return "its type is unknown"
    if ir.attribute(node, "stash_type", 1) != 1:
        return "it computes in another type than float32"
    if start.dtype in _HALVES:
        begin, end, step = (make.Cast(v, to=_DOUBLE) for v in (start, limit, delta))
        steps = make.Div(make.Sub(end, begin), step)
    else:
        span = make.Cast(make.Sub(limit, start), to=_DOUBLE)
        steps = make.Div(span, make.Cast(delta, to=_DOUBLE))
    whole = make.Cast(make.Max(make.Ceil(steps), np.array(0, np.float64)), to=_INT64)
    return [make.own("Range", start, limit, delta, make.Reshape(whole, _one(1)))]


_RULES: dict[str, Callable[[_Nodes, ir.Node], Results]] = {
    "Compress": _compress,
    "NonMaxSuppression": _boxes,
    "NonZero": _non_zero,
    "Range": _range,
    "Unique": _unique,
}
