"""Compute at compile time what does not depend on the inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import Contents, contents, dims, known_array
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference
from optc.compiler.shapes import infer_node
from optc.passes.cleanup.share_subexpressions import RANDOM
from optc.passes.cleanup.targets import constant_target

COMPACT = frozenset({"DequantizeLinear", "Codebook"})
"""Operators that unpack a weight which is stored small on purpose."""

_TYPES = ("BOOL", "FLOAT16", "FLOAT", "DOUBLE", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
COMPUTED = frozenset(ir.DataType[name] for name in _TYPES)
"""What the reference executor gives as arrays."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Nodes of constants, and shape arithmetic whose result is known, become initializers.

    They are computed by the reference executor. A Reshape to a shape computed from its own input's takes a constant with 0
    or -1 instead.

    `max_growth`: by how many bytes the weights may grow in all; weights of convolutions and matrix products do not count, since
    an engine computes and holds them before the first run in any case, and fusions want to see them. Random operators, those with
    bodies and those that unpack a compactly stored weight are not folded.
    """

    max_growth: int = 1 << 20

    name = "fold-constants"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        known, room = contents(edit.graph), self.max_growth
        for graph in ir.all_graphs(edit.graph):
            for node in list(graph):
                if node.graph is None or ir.standard(node, "Constant") or any(True for _ in ir.bodies(node)):
                    continue
                if ir.standard(node, "Reshape"):
                    _constant_target(edit, node, known)
                arrays = self._compute(edit, node, known)
                if arrays is None:
                    continue
                growth = 0 if _is_weight(node) else sum(a.nbytes for a in arrays) - _freed(node)
                if growth > room:
                    edit.refuse(node, self.name, f"the weights would grow by {growth} bytes, {room} are left of max-growth")
                elif edit.step(node):
                    room = min(room - growth, self.max_growth)
                    for value, array in zip(node.outputs, arrays, strict=True):
                        edit.replace(value, edit.initializer(array, value.name or ""))
                    inputs = list(node.inputs)
                    edit.remove(node, "its results are known")
                    edit.sweep(inputs)

    def _compute(self, edit: Editor, node: ir.Node, contents: Contents) -> list[ir.Array] | None:
        """The outputs, where they are known."""
        known = [known_array(contents.of(v)) if v.dtype is not None and v.dtype.is_integer() else None for v in node.outputs]
        constant = all(v is None or not v.name or ir.const_tensor(v) is not None for v in node.inputs)
        if not constant and any(k is None for k in known):
            return None
        if node.op_type in RANDOM or node.op_type in COMPACT:
            edit.refuse(node, self.name, f"{node.op_type} is not folded")
            return None
        if any(v.is_graph_output() for v in node.outputs):
            edit.refuse(node, self.name, "its result is an output of the graph")
            return None
        if all(k is not None for k in known):
            return [k.astype(v.dtype.numpy()) for k, v in zip(known, node.outputs, strict=True) if k is not None and v.dtype]
        divisor = ir.const(node.inputs[1]) if ir.standard(node, "Div", "Mod") else None
        if divisor is not None and divisor.dtype.kind in "iu" and not divisor.all():
            edit.refuse(node, self.name, "it divides by zero")
            return None
        if any(v.dtype is None for v in node.outputs):
            infer_node(edit, node, contents)
        for v in node.outputs:
            if not isinstance(v.type, ir.TensorType) or v.dtype not in COMPUTED:
                edit.refuse(node, self.name, f"results of type {v.type} are not computed")
                return None
        try:
            results = Reference(_alone(edit.model, node), threads=1).run({})
        except UserError as error:
            edit.refuse(node, self.name, f"{error.message}: {' '.join(error.lines)}")
            return None
        return [np.asarray(results[v.name or ""]) for v in node.outputs if v.name]


def _alone(model: ir.Model, node: ir.Node) -> ir.Model:
    """A model that is this node, its inputs as initializers."""
    held: dict[ir.Value, ir.Value] = {}
    for v in node.inputs:
        tensor = ir.const_tensor(v)
        if v is not None and tensor is not None:
            held[v] = ir.Value(
                name=v.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
    inputs = [None if v is None else held.get(v) for v in node.inputs]
    copy = ir.Node(
        node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs), name=node.name
    )
    for mine, theirs in zip(copy.outputs, node.outputs, strict=True):
        mine.name, mine.type, mine.shape = theirs.name, theirs.type, theirs.shape
    outputs = [v for v in copy.outputs if v.name]
    graph = ir.Graph([], outputs, nodes=[copy], initializers=list(held.values()), name="constant")
    alone = ir.Model(graph, ir_version=model.ir_version)
    alone.opset_imports.update(model.opset_imports)
    return alone


def _is_weight(node: ir.Node) -> bool:
    """Whether what a node computes becomes, as it is or folded on, only the second operand of convolutions and products."""
    uses = [u for v in node.outputs for u in v.uses()]
    return bool(uses) and all(_ends_as_weight(u.node, u.idx) for u in uses)


def _ends_as_weight(user: ir.Node, index: int) -> bool:
    if ir.standard(user, "Conv", "ConvTranspose", "Gemm", "MatMul"):
        return index == 1
    others = (v for i, v in enumerate(user.inputs) if i != index and v is not None)
    return all(ir.const_tensor(v) is not None for v in others) and _is_weight(user)


def _freed(node: ir.Node) -> int:
    """Bytes of the constants that only this node reads."""
    inputs = dict.fromkeys(v for v in node.inputs if v is not None)
    return sum(t.nbytes for v in inputs if (t := ir.const_tensor(v)) is not None and all(u.node is node for u in v.uses()))


def _constant_target(edit: Editor, node: ir.Node, contents: Contents) -> None:
    """Reshape(x, [N, 256]) -> Reshape(x, [0, 256]) where N is x's own dimension; [a·b, 256] -> [-1, 256]."""
    target_value = node.inputs[1] if len(node.inputs) > 1 else None
    target, x, result = contents.of(target_value), dims(node.inputs[0]), shape_rules.result(node)
    if target_value is None or ir.const_tensor(target_value) is not None or target is None or x is None:
        return
    elements = list(target)
    if all(isinstance(e, int) for e in elements):
        return  # folded as it is
    found = constant_target(x, elements, result, allowzero=bool(ir.attribute(node, "allowzero", 0)))
    if isinstance(found, str):
        edit.refuse(node, "constant-target", found)
    elif edit.step(node):
        edit.set_input(node, 1, edit.initializer(np.array(found, np.int64), f"{node.name}_shape"))
        if 0 in found and "allowzero" in node.attributes:
            edit.set_attribute(node, "allowzero", None)
        edit.set_origin(node, ir.origin(node).by(edit.owner))
        edit.sweep([target_value])
