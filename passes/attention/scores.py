"""From a Softmax back to the product of queries and keys: the scale, the soft cap and the masks between."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optc.compiler import ir
from optc.compiler.pattern import attribute_or_default
from optc.passes.attention.walk import MisfitError, made_by, only_user, scaled, sizes, uniform, value_is_float

DEPTH = 12
"""How many nodes there may be between product and Softmax."""
LOW = -1e3
"""What a mask fills in is at most this: such scores have no weight beside others."""


@dataclass(frozen=True)
class Mask:
    """`value` added to scores of `rank` dimensions, or, with a `fill`, bool: where it is `keep` they stay, elsewhere they become
    `fill`."""

    value: ir.Value
    rank: int
    fill: float | None = None
    keep: bool = True


@dataclass(frozen=True)
class Scores:
    """softcap(scale·product) with masks, the innermost first; `nodes` compute it from the product on. `precision` is that of the
    Softmax where it is another than the scores'."""

    product: ir.Node
    scale: float = 1.0
    softcap: float = 0.0
    masks: tuple[Mask, ...] = ()
    nodes: tuple[ir.Node, ...] = ()
    precision: ir.DataType | None = None


def find(softmax: ir.Node, opset: int) -> Scores:
    """What a Softmax weighs. Raises MisfitError where it is no product of two computed values with masks."""
    x = softmax.inputs[0]
    rank = len(sizes(x, depth=0))
    axis = attribute_or_default(softmax, "axis", opset)
    if rank not in (3, 4) or axis not in (-1, rank - 1):
        raise MisfitError(f"it is over axis {axis} of {rank} dimensions, not the last of [batch, heads, queries, keys]")
    cast = made_by(x, "Cast")
    if cast is None or x is None:
        return _walk(x, 1)
    only_user(x)
    if not value_is_float(x) or not value_is_float(cast.inputs[0]):
        raise MisfitError(f"{ir.node_id(cast)} does not cast floats")
    return replace(_walk(cast.inputs[0], 1), precision=x.dtype)


def _walk(value: ir.Value | None, depth: int) -> Scores:
    """The scores that a value is."""
    node = made_by(value, "MatMul", "Add", "Where", "Mul", "Div", "Reshape", "Max")
    if value is None or node is None or depth > DEPTH:
        name = value.name if value is not None else ""
        raise MisfitError(f"'{name}' is no product of queries and keys", depth)
    if node.op_type == "MatMul":
        if any(ir.const_tensor(v) is not None for v in node.inputs):  # a layer before classes, say
            raise MisfitError(f"{ir.node_id(node)} multiplies by a constant", 1)
        only_user(value, depth + 1)
        return Scores(node)
    only_user(value, depth)
    if node.op_type == "Add" and scaled(value) is None:
        return _added(node, depth)
    if node.op_type == "Where":
        return _selected(node, depth)
    if node.op_type == "Reshape":
        return _reshaped(node, depth)
    if node.op_type == "Max":
        raise MisfitError(f"{ir.node_id(node)} bounds the scores", depth)
    return _multiplied(node, depth)


def _added(node: ir.Node, depth: int) -> Scores:
    """The operand that leads back to the product is the scores, the other one the mask."""
    misfits = []
    for scores, mask in (node.inputs, node.inputs[::-1]):
        if mask is None or scores is None or scores is mask or ir.const_tensor(scores) is not None:
            continue
        try:
            found = _walk(scores, depth + 1)
        except MisfitError as misfit:
            misfits.append(misfit)
            continue
        return replace(found, masks=(*found.masks, Mask(mask, _rank(scores, node, mask))), nodes=(*found.nodes, node))
    raise max(misfits, key=lambda m: m.depth) if misfits else MisfitError(f"{ir.node_id(node)} adds a value to itself", depth)


def _selected(node: ir.Node, depth: int) -> Scores:
    """Where(mask, scores, fill), or the other way round."""
    condition, a, b = node.inputs
    for scores, filled, keep in ((a, b, True), (b, a, False)):
        fill = uniform(filled)
        if fill is None or condition is None or scores is None or uniform(scores) is not None:
            continue
        if fill > LOW:
            raise MisfitError(f"{ir.node_id(node)} fills in {fill:g}: that is no mask", depth)
        found = _walk(scores, depth + 1)
        mask = Mask(condition, _rank(scores, node, condition), fill, keep)
        return replace(found, masks=(*found.masks, mask), nodes=(*found.nodes, node))
    raise MisfitError(f"{ir.node_id(node)} does not choose between scores and a constant", depth)


def _rank(scores: ir.Value, node: ir.Node, mask: ir.Value) -> int:
    """How many dimensions scores have. Raises MisfitError where a mask gives them more, or longer ones."""
    before, behind = sizes(scores), sizes(node.outputs[0])
    if len(before) != len(behind) or any(a == 1 != b for a, b in zip(before, behind, strict=True)):
        raise MisfitError(f"the mask '{mask.name}' widens the scores '{scores.name}'", 3)
    return len(before)


def _multiplied(node: ir.Node, depth: int) -> Scores:
    """A scale, or the outer factor of a soft cap: cap·tanh(scores / cap)."""
    known = scaled(node.outputs[0])
    if known is None:
        raise MisfitError(f"{ir.node_id(node)} does not multiply by a constant number", depth)
    factor, inner, _ = known
    tanh = made_by(inner, "Tanh")
    if tanh is None:
        found = _walk(inner, depth + 1)
        if factor != 1 and (found.masks or found.softcap):
            raise MisfitError(f"{ir.node_id(node)} scales behind the mask", depth + 1)
        return replace(found, scale=found.scale * factor, nodes=(*found.nodes, node))
    only_user(inner, depth)
    found = _walk(tanh.inputs[0], depth + 2)
    if found.masks or found.softcap:
        raise MisfitError(f"{ir.node_id(tanh)} caps scores that are masked already", depth + 2)
    if factor <= 0:
        raise MisfitError(f"the soft cap of {ir.node_id(tanh)} is {factor:g}", depth + 2)
    return replace(found, scale=found.scale * factor, softcap=factor, nodes=(*found.nodes, tanh, node))


def _reshaped(node: ir.Node, depth: int) -> Scores:
    """[B·N, S, T] -> [B, N, S, T] or back."""
    before, behind = sizes(node.inputs[0], depth=depth), sizes(node.outputs[0], depth=depth)
    if {len(before), len(behind)} != {3, 4} or before[-2:] != behind[-2:]:
        raise MisfitError(f"{ir.node_id(node)} reshapes scores", depth)
    found = _walk(node.inputs[0], depth + 1)
    return replace(found, nodes=(*found.nodes, node))
