"""What every step of a loop computes alike is computed before it, and what both branches of an If compute, before the If."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from optc.compiler import ir, shape_rules
from optc.compiler.contents import contents, dims, known_array
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.passes.cleanup.carried import ELEMENTWISE
from optc.passes.cleanup.share_subexpressions import RANDOM, key

_NEVER_FAILS = frozenset({"Cast", "ConstantOfShape", "Flatten", "Identity", "Shape", "Size", "Softmax", "Transpose", "Unsqueeze"})
"""Of what load has checked, these give a result whatever their inputs hold, as elementwise operators of fitting shapes do."""


@dataclass(frozen=True)
class HoistInvariants(Pass):
    """Nodes of Loop and Scan bodies that read nothing of the step go before the loop; equal nodes of both branches before the If.

    A loop may take no step: where it is not sure to take one, only what cannot fail is computed before it.
    """

    name = "hoist-invariants"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for graph in reversed(list(ir.all_graphs(edit.graph))):  # from the innermost loop out
            for node in list(graph):
                if ir.standard(node, "Loop", "Scan"):
                    (body,) = ir.bodies(node)
                    _before(edit, node, body, certain=_takes_a_step(edit, node))
                elif ir.standard(node, "If"):
                    _of_both(edit, node)


def _takes_a_step(edit: Editor, node: ir.Node) -> bool:
    """Whether a loop surely takes one step at least."""
    known = contents(edit.graph)
    if node.op_type == "Scan":
        count = int(ir.attribute(node, "num_scan_inputs"))
        (body,) = ir.bodies(node)
        axis, extents = ir.attribute(node, "scan_input_axes", (0,))[0], dims(node.inputs[-count])
        extent = extents[axis] if extents is not None and len(body.inputs) == len(node.inputs) else 0
        return isinstance(extent, int) and extent > 0
    condition = node.inputs[1] if len(node.inputs) > 1 else None
    on = condition is None or ((held := ir.const(condition)) is not None and bool(held.reshape(())))
    steps = known_array(known.of(node.inputs[0]))
    return on and (node.inputs[0] is None or (steps is not None and int(steps.reshape(-1)[0]) > 0))


def _invariant(body: ir.Graph) -> Iterator[ir.Node]:
    """Nodes of a body that read nothing that it makes. Lazily: one that is hoisted lets others be."""
    own = set(body.inputs)
    for node in list(body):
        reads = {v for v in node.inputs if v is not None}
        fixed = all(v not in own and v.graph is not body for v in reads) and bool(reads)
        outputs = any(v.is_graph_output() for v in node.outputs)
        if fixed and not outputs and node.op_type not in RANDOM and not any(True for _ in ir.bodies(node)):
            yield node


def _before(edit: Editor, loop: ir.Node, body: ir.Graph, *, certain: bool) -> None:
    for node in _invariant(body):
        if not certain and not _cannot_fail(node):
            edit.refuse(node, "hoist-invariants", "it may fail, and the loop may take no step")
        elif edit.step(node):
            _moved(edit, node, loop)


def _cannot_fail(node: ir.Node) -> bool:
    if not ir.standard(node, *ELEMENTWISE, *_NEVER_FAILS) or ir.standard(node, "Mod"):
        return False
    if ir.standard(node, *_NEVER_FAILS):
        return not ir.standard(node, "ConstantOfShape", "Unsqueeze") or ir.const_tensor(node.inputs[-1]) is not None
    if ir.standard(node, "Div") and not (node.outputs[0].dtype or ir.DataType.INT64).is_floating_point():
        return False  # an integer may be divided by zero
    shapes = [dims(v) for v in node.inputs if v is not None]
    return None not in shapes and None not in shape_rules.broadcast_dims([s for s in shapes if s is not None])


def _of_both(edit: Editor, node: ir.Node) -> None:
    first, second = ir.bodies(node)
    hoisted = True
    while hoisted:  # what reads a result that was hoisted may be next
        hoisted, others = False, {key(n, edit): n for n in _invariant(second)}
        for twin in _invariant(first):
            other = others.get(key(twin, edit))
            if other is not None and other.graph is second and edit.step(twin):
                for old, new in zip(other.outputs, _moved(edit, twin, node), strict=True):
                    edit.replace(old, new)
                edit.remove(other)
                hoisted = True


def _moved(edit: Editor, node: ir.Node, before: ir.Node) -> list[ir.Value]:
    """Let a node stand before another one, of a graph around its own; its results."""
    name = node.name or ""
    made = edit.node(
        node.op_type,
        list(node.inputs),
        node.attributes.values(),
        outputs=len(node.outputs),
        domain=node.domain,
        name=name,
        sources=[node],
    )
    edit.insert_before(before, [made])
    for old, new in zip(node.outputs, made.outputs, strict=True):
        if not old.name:
            new.name = ""
        edit.set_type(new, old.dtype, old.shape)
        edit.replace(old, new)
    edit.remove(node)
    edit.rename(made, name)
    return list(made.outputs)
