"""Recurrent layers that were unrolled, one node a step, become one layer over the sequence again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.passes.fusion.step_views import Whole, axes_of, peeled, sequence, whole_of


@dataclass(frozen=True)
class MergeRecurrentSteps(Pass):
    """LSTM(x0, h, c), LSTM(x1, h', c'), .. with the same weights, each from the state of the one before -> one LSTM (or GRU).

    The steps' inputs are the sequence that they were cut from, or are put together. A cell's state between steps must not be
    used elsewhere, for LSTM gives only the last.
    """

    name = "merge-recurrent-steps"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            steps = [node for node in graph if _is_step(node)]
            for chain in _chains(steps):
                reason = _closed(chain)
                if reason:
                    edit.refuse(chain[0], self.name, reason)
                elif edit.step(chain[0]):
                    mark = edit.mark()
                    try:
                        _merge(edit, chain)
                        edit.sort(graph)
                    except ValueError:  # an input that depends on the step before: a decoder
                        edit.rollback(mark)
                        edit.steps.pop()
                        edit.refuse(chain[0], self.name, "a step's input depends on the step before")


def _is_step(node: ir.Node) -> bool:
    if not ir.standard(node, "LSTM", "GRU") or node.inputs[0] is None:
        return False
    shape, inputs = dims(node.inputs[0]), [*node.inputs, *[None] * 8]
    plain = ir.attribute(node, "direction", "forward") == "forward" and not ir.attribute(node, "layout", 0)
    constant = all(v is None or ir.const_tensor(v) is not None for v in inputs[1:4])
    return shape is not None and shape[0] == 1 and plain and constant and inputs[4] is None and inputs[7] is None


def _chains(steps: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """Maximal sequences of two and more, each step from the state of the one before."""
    following: dict[ir.Node, list[ir.Node]] = {}
    known, after = set(steps), set()
    for node in steps:
        before = _before(node)
        if before is not None and before in known and _alike(before, node):
            following.setdefault(before, []).append(node)
            after.add(node)
    chains = []
    for node in steps:
        chain = [node]
        while node not in after and len(found := following.get(chain[-1], [])) == 1:
            chain.append(found[0])
        if len(chain) > 1:
            chains.append(chain)
    return chains


def _before(node: ir.Node) -> ir.Node | None:
    """The step whose states this one starts from."""
    states = [v for v in node.inputs[5:7] if v is not None]
    found = [peeled(v) for v in states]
    makers = {p.value.producer() for p in found}
    if len(states) != _states(node) or len(makers) != 1 or any(p.depth for p in found):
        return None
    return next(iter(makers)) if all(p.value.index() == i + 1 for i, p in enumerate(found)) else None


def _states(node: ir.Node) -> int:
    return 2 if node.op_type == "LSTM" else 1


def _alike(first: ir.Node, second: ir.Node) -> bool:
    """Whether two steps have the same weights. One that starts from no state may have none for it."""
    if first.op_type != second.op_type or len(first.outputs) <= _states(first):
        return False
    settings = [{k: repr(a.value) for k, a in n.attributes.items()} for n in (first, second)]
    arrays = [[ir.const(v) for v in (*n.inputs, None)[1:4]] for n in (first, second)]
    same = [
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(*arrays, strict=True)
    ]
    unused = len(first.inputs) <= 5 or first.inputs[5] is None
    same[1] = same[1] or (unused and arrays[0][1] is not None and not arrays[0][1].any())
    return settings[0] == settings[1] and all(same)


def _closed(chain: Sequence[ir.Node]) -> str:
    """Why the steps must stay: someone sees what one layer does not give."""
    for node in chain:
        if node.outputs[0].uses() or node.outputs[0].is_graph_output():
            return f"'{node.outputs[0].name}' is used, too"
    for node, after in pairwise(chain):
        if node.op_type == "LSTM":
            view = peeled(after.inputs[6])
            for value in (node.outputs[2], *(v for n in view.path for v in n.outputs)):
                if value.is_graph_output() or any(user is not after and user not in view.path for user in value.consumers()):
                    return f"the cell's state '{value.name}' between two steps is used elsewhere"
    return ""


def _merge(edit: Editor, chain: Sequence[ir.Node]) -> None:
    first, last = chain[0], chain[-1]

    def node(op_type: str, inputs: Sequence[ir.Value | None], outputs: int = 1, **attributes: Any) -> list[ir.Value]:
        attrs = [ir.convert_attribute(k, v) for k, v in attributes.items()]
        made = edit.node(op_type, inputs, attrs, outputs=outputs, name=f"{first.name}_{op_type}", sources=chain)
        edit.insert_before(last, [made])
        infer_node(edit, made)
        return list(made.outputs)

    def constant(*numbers: int) -> ir.Value:
        return edit.initializer(np.array(numbers, np.int64), f"{first.name}_axes")

    source = sequence([n.inputs[0] for n in chain])
    if source is None:
        x = node("Concat", [n.inputs[0] for n in chain], axis=0)[0]
    else:
        x = source.value if source.axis == 0 else node("Transpose", [source.value], perm=[1, 0, 2])[0]
    made = edit.node(
        first.op_type, [x, *last.inputs[1:4], *first.inputs[4:]], first.attributes.values(),
        outputs=len(last.outputs), name=first.name or first.op_type, sources=chain,
    )  # fmt: skip
    edit.insert_before(last, [made])
    infer_node(edit, made)
    modern = edit.opset() >= 13
    stacked: list[ir.Value] = []

    def stack() -> ir.Value:
        """All the states, [steps, N, hidden]."""
        if not stacked:
            y = made.outputs[0]
            stacked.extend(node("Squeeze", [y, constant(1)]) if modern else node("Squeeze", [y], axes=[1]))
        return stacked[0]

    for whole in _wholes(chain):
        result = stack() if whole.axis == 0 else node("Transpose", [stack()], perm=[1, 0, 2])[0]
        edit.set_type(result, whole.value.dtype, whole.value.shape)
        joined = whole.value.producer()
        edit.replace(whole.value, result)
        _remove_views(edit, joined)
    for old, new in zip(last.outputs[1:], made.outputs[1:], strict=True):
        edit.set_type(new, old.dtype, old.shape)
        edit.replace(old, new)
    outside = [n.outputs[1] for n, after in pairwise(chain) if _seen(n, after)]
    if outside:
        sizes = [1] * len(chain)
        parts = (
            node("Split", [stack(), constant(*sizes)], len(chain), axis=0)
            if modern
            else node("Split", [stack()], len(chain), axis=0, split=sizes)
        )
        for n, part in zip(chain, parts, strict=True):
            if n.outputs[1] in outside:
                edit.set_type(part, n.outputs[1].dtype, n.outputs[1].shape)
                edit.replace(n.outputs[1], part)
    for n in reversed(chain):
        inputs = list(n.inputs)
        if n.graph is not None:  # not swept away with the step behind it
            edit.remove(n)
        edit.sweep(inputs)


def _remove_views(edit: Editor, node: ir.Node | None) -> None:
    """Remove a node that nothing uses, and the views of which it was made; never a step."""
    if node is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
        return
    makers = dict.fromkeys(v.producer() for v in node.inputs if v is not None)
    edit.remove(node)
    for maker in makers:
        if maker is not None and ir.standard(maker, "Squeeze", "Unsqueeze", "Identity"):
            _remove_views(edit, maker)


def _seen(node: ir.Node, after: ir.Node) -> bool:
    """Whether the state after a step is used by more than the next step."""
    view = peeled(after.inputs[5])
    values = (node.outputs[1], *(v for n in view.path for v in n.outputs))
    return any(v.is_graph_output() or any(u is not after and u not in view.path for u in v.consumers()) for v in values)


def _wholes(chain: Sequence[ir.Node]) -> list[Whole]:
    """Where the states after all the steps are put together, in order."""
    values, found = [chain[0].outputs[1]], []
    while values:
        for user in values.pop().consumers():
            if ir.standard(user, "Squeeze", "Unsqueeze", "Identity") and axes_of(user) is not None:
                values.extend(user.outputs)
            elif (whole := whole_of(user, [n.outputs[1] for n in chain])) is not None:
                found.append(whole)
    return found
